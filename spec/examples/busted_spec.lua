-- A sim's body is a busted test like any other: upvalues, spies, before_each, finally, defer.
local lub = require "lubdub"
require "lubdub.sim"

describe("a mailer", function()
  local sent, mailer

  before_each(function()
    sent = spy.new(function() end)
    mailer = function(inbox) for letter in inbox do sent(letter, lub.now()) end end
  end)

  it("sends what comes, when it comes", lub.sim(function()
    local inbox = lub.chan(1)
    local fiber = lub.go(mailer, inbox)
    inbox:send "one"
    lub.pass(10)
    inbox:send "two"
    inbox:close()
    fiber:join()
    assert.spy(sent).was.called(2)
    assert.spy(sent).was.called_with("two", 10.0)
  end))

  it("is cleaned up after, also when the test fails", lub.sim(function()
    local fiber = lub.go(mailer, lub.chan())
    lub.defer(function() fiber:kill() end)
    lub.pass(1)
    assert.spy(sent).was_not.called()
  end))
end)
