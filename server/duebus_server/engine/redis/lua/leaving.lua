-- Shared by the scripts that remove sessions. Needs leases.lua.

-- A field of a stored session: how long its ephemeral group is kept after it has gone.
local KEPT_US = 5

-- Removes sessions from a group. Returns until when the group is kept if it is ephemeral without sessions, or -1.
local function remove_sessions(group, sessions, returns_in)
  local key, sessions_key = group_key(group, 'group'), group_key(group, 'sessions')
  local kept_until = -1
  if is_ephemeral(group) then
    kept_until = tonumber(redis.call('HGET', key, 'kept_until') or 0)
    for _, session in ipairs(sessions) do
      local info = unpack_fields(redis.call('HGET', sessions_key, session), KEPT_US)
      kept_until = math.max(kept_until, info and now + returns_in + info[KEPT_US] or 0)
    end
    redis.call('HSET', key, 'kept_until', whole(kept_until))
  end
  for _, session in ipairs(sessions) do
    redis.call('HDEL', sessions_key, session)
  end
  return redis.call('HLEN', sessions_key) > 0 and -1 or whole(kept_until)
end
