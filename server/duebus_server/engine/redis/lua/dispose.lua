-- Lets go of events of groups that were deleted: one step. Those that no other group holds are removed.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      the server's dedupe window, microseconds
-- returns  whether something is left (0, 1)
-- includes leases
-- includes deleting

local LIMIT = 1000
local AT_ONCE, MAX_READ_BYTES = 100, 4000000 -- events are read so many at a time, until they come to so many bytes

regardless_of_memory()
local window = setting('dedupe_window', ARGV[6])
for _, name in ipairs({ 'events', 'refs', 'meta' }) do
  redis.call('HLEN', topic_key(name))
end
local left, bytes = LIMIT, 0
local gone, chosen = {}, {}

-- Only an id that is packed, as those are that the server makes, needs a look at the event.
local function is_chosen(id)
  if (string.byte(id) or 32) >= 32 then
    return true
  end
  local blob = redis.call('HGET', topic_key('events'), id) or ''
  bytes = bytes + #blob
  return #blob >= HEADER_SIZE and has_flag(blob, CHOSEN_ID)
end

local function let_go_of(key, were_dead)
  while left > 0 do
    local members = redis.call('ZRANGE', key, 0, math.min(left, AT_ONCE) - 1)
    if #members == 0 then
      break
    end
    local ids, freed = {}, {}
    for i, member in ipairs(members) do
      ids[i] = id_of(member)
    end
    let_go(ids, were_dead, freed)
    for _, id in ipairs(freed) do
      gone[#gone + 1] = id
      if is_chosen(id) then
        chosen[#chosen + 1] = id
      end
    end
    redis.call('ZREM', key, unpack(members))
    left = bytes > MAX_READ_BYTES and 0 or left - #members
  end
end

for _, number in ipairs(redis.call('SMEMBERS', topic_key('deleted'))) do
  local keys = {}
  for i, name in ipairs(SETS) do
    keys[i] = aside_key(number, name)
    let_go_of(keys[i], name == 'dead')
  end
  if redis.call('EXISTS', unpack(keys)) == 0 then
    redis.call('SREM', topic_key('deleted'), number)
  end
end
write_all('HDEL', topic_key('events'), gone)
remember_ids(chosen, window)
return redis.call('EXISTS', topic_key('deleted'))
