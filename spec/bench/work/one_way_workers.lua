local stream = require "stream"

return {
  name = "one-way rendezvous, workers", unit = "ns", n = 300000, carriers = { 1, 2 }, floor = "switch",
  target = { { go = 1.3 } },
  run = stream.workers(0, stream.integer),
}
