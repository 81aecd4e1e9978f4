-- quorum: a group of hearts lives as long as enough of its members do. For lub.heart{ members = {…} }.
--   need    how many members must live; default: more than half
--   share   the same as a share of the members, > 0 and <= 1
-- The members' own policies judge the members: alive, late and unknown count as living, a paused heart as well.
-- A group is asked at every pulse, so it need not ask for that.
-- Score: the share of the members that do not live.
-- Source: multikill of Envoy's guarddog; quorums of Cassandra and Akka's downing.
local options = require "lubdub.options"

local living = { alive = true, late = true, unknown = true }

local function lives(member)
  local state = member.state
  return state ~= "dead" and state ~= "zombie" and (living[member.verdict] or state == "paused")
end

return function(opts)
  local o = options("policy 'quorum'", opts, { need = options.count(), share = options.share() })
  if o.need and o.share then options.refuse("policy 'quorum'", "share", "nothing beside 'need'", o.share) end

  return function(h)
    local members = h.members
    if not members or #members == 0 then error "policy 'quorum': the heart has no members" end
    local n, up = #members, 0
    for i = 1, n do
      if lives(members[i]) then up = up + 1 end
    end
    local need = o.need or o.share and math.ceil(o.share * n - 1e-9) or n // 2 + 1
    return up >= need and "alive" or "dead", nil, 1 - up / n
  end, { members = true }
end
