local stream = require "stream"

return {
  name = "one-way rendezvous, small table, fibers", unit = "ns", n = 200000, carriers = { 1 }, floor = "copy",
  target = {},
  run = stream.fibers(0, stream.row),
}
