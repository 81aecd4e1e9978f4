return {
  name = "CPU of 100,000 hearts at 1 Hz", unit = "%", n = 100000, fixed = true, cold = true, carriers = { 2 },
  target = { [2] = { value = 5, go = 0.25 } },
  run = require "hearts".cpu,
}
