local lub = require "lubdub"

return {
  name = "1e6 jobs over 8 fibers, a job", unit = "ns", n = 1000000, carriers = { 1 }, floor = "buffer",
  target = { { go = 3 } },
  run = require "pool" (lub.go),
}
