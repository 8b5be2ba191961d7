-- Shared by the scripts that make events READY. Needs common.lua, and policies.lua where the topic may have limits.

-- When a group that has something READY at `due` can lease it; or NEVER, see `due_under` in policies.lua.
local function ready_at(group, due)
  if not HAS_LIMITS or due == NEVER then
    return due
  end
  return policies().due_under(group, policies().read_limits(group), due)
end

-- Notifies as `wake`, for an event that is READY at `due`. Returns when it can be leased, or NEVER; also NEVER while the
-- group is paused by an operator.
local function wake_ready(group, due)
  local at = ready_at(group, due)
  return at ~= NEVER and wake(group, at) and at or NEVER
end
