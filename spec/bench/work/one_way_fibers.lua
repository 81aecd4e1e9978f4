local stream = require "stream"

return {
  name = "one-way rendezvous, fibers", unit = "ns", n = 1000000, carriers = { 1 }, floor = "switch",
  target = { { go = 1.3 } },
  run = stream.fibers(0, stream.integer),
}
