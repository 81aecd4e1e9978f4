local stream = require "stream"

return {
  name = "one way, capacity 1024, workers", unit = "ns", n = 1000000, carriers = { 1, 2 }, floor = "buffer",
  target = { { go = 3.5 } }, mailbox = true,
  run = stream.workers(1024, stream.integer),
}
