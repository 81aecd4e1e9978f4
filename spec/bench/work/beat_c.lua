return {
  name = "a beat from C", unit = "ns", n = 20000000, carriers = { 1 },
  target = { { value = 10 } },
  program = true,
}
