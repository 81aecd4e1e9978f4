local stream = require "stream"

return {
  name = "one-way rendezvous, 64-byte string, workers", unit = "ns", n = 300000, carriers = { 1, 2 }, floor = "switch",
  target = {},
  run = stream.workers(0, stream.text),
}
