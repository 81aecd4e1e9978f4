-- How late a sleeper wakes: n sleeps of s seconds, sorted, the least late first.
local lub = require "lubdub"

return function(n, s)
  local late = {}
  for i = 1, n do
    local due = lub.now() + s
    lub.sleep(s)
    late[i] = lub.now() - due
  end
  table.sort(late)
  return late
end
