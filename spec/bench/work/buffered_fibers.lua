local stream = require "stream"

return {
  name = "one way, capacity 1024, fibers", unit = "ns", n = 2000000, carriers = { 1 }, floor = "buffer",
  target = { { go = 3.5 } }, mailbox = true,
  run = stream.fibers(1024, stream.integer),
}
