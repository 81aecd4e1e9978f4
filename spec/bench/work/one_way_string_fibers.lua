local stream = require "stream"

return {
  name = "one-way rendezvous, 64-byte string, fibers", unit = "ns", n = 1000000, carriers = { 1 }, floor = "switch",
  target = {},
  run = stream.fibers(0, stream.text),
}
