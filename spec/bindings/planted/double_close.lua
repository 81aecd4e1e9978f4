-- Double close: two look whether it is closed, and then close it.
local lub = require "lubdub"

return function()
  local done, log = lub.chan(0, "done"), lub.chan(8)
  local function finish(who)
    if not done:closed() then
      log:send(who)
      done:close()
    end
  end
  local a, b = lub.go(finish, "reader"), lub.go(finish, "writer")
  for _, fiber in ipairs { a, b } do
    local _, why = fiber:join()
    if why then error(why, 0) end
  end
end
