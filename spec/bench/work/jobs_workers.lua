local lub = require "lubdub"

return {
  name = "1e6 jobs over 8 workers, a job", unit = "ns", n = 1000000, carriers = { 1, 2 }, floor = "buffer",
  target = {},
  run = require "pool" (lub.spawn),
}
