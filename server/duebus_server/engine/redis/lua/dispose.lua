-- Lets go of events of groups that were deleted: one step. Those that no other group holds are removed.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      the server's dedupe window, microseconds
-- returns  whether something is left (0, 1)
-- includes leases
-- includes deleting

local LIMIT, MAX_READ_BYTES = 1000, 4000000

regardless_of_memory()
local window = setting('dedupe_window', ARGV[6])
for _, name in ipairs({ 'events', 'refs', 'meta' }) do
  redis.call('HLEN', topic_key(name))
end
local single = redis.call('EXISTS', topic_key('refs')) == 0
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

local function let_go_of(key, was_dead)
  local members = left > 0 and redis.call('ZRANGE', key, 0, left - 1) or {}
  local done = {}
  for i, member in ipairs(members) do
    local id, before = id_of(member), #gone
    if single and not was_dead then
      gone[#gone + 1] = id
    else
      let_go(id, was_dead, gone)
    end
    if #gone > before and is_chosen(id) then
      chosen[#chosen + 1] = id
    end
    done[i] = member
    left = left - 1
    if bytes > MAX_READ_BYTES then
      left = 0
      break
    end
  end
  write_all('ZREM', key, done)
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
