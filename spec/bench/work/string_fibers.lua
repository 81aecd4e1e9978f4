local stream = require "stream"

return {
  name = "64-byte string, capacity 1024, fibers", unit = "ns", n = 1000000, carriers = { 1 }, floor = "buffer",
  target = {}, mailbox = true,
  run = stream.fibers(1024, stream.text),
}
