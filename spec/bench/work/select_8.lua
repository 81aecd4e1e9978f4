return {
  name = "select over 8, a sender each", unit = "ns", n = 300000, carriers = { 1 }, floor = "switch",
  target = { { value = 400 } },
  run = require "selection" (8),
}
