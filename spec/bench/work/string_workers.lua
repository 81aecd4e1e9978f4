local stream = require "stream"

return {
  name = "64-byte string, capacity 1024, workers", unit = "ns", n = 1000000, carriers = { 1, 2 }, floor = "buffer",
  target = {}, mailbox = true,
  run = stream.workers(1024, stream.text),
}
