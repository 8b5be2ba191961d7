-- Releases events of a deleted group, in one step of several. Events that no other group holds are removed.
--
-- KEYS     topic, and the keys put aside
-- ARGV     1..5 as in common.lua
--   6      the server's dedupe window, microseconds
--   7      the name of the deletion, as in `deleted`
-- returns  whether something is left (0, 1)
-- runs on closed partitions too
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes deleting

local LIMIT = 1000
local AT_ONCE, MAX_READ_BYTES = 100, 4000000 -- how many events are read at a time, and after how many bytes a step ends

regardless_of_memory()
local window = setting('dedupe_window', ARGV[6])
for _, name in ipairs({ 'events', 'refs', 'meta' }) do
  redis.call('HLEN', topic_key(name))
end
local deletion, was_ephemeral = read_deletion(ARGV[7])
local left, bytes = LIMIT, 0
local gone, chosen = {}, {}

-- Reads the event only for a packed UUID, which the server may have made.
local function is_chosen(id)
  if (string.byte(id) or 32) >= 32 then
    return true
  end
  local blob = redis.call('HGET', topic_key('events'), id) or ''
  bytes = bytes + #blob
  return #blob >= HEADER_SIZE and has_flag(blob, CHOSEN_ID)
end

local function drop_copies_of(key, waited)
  while left > 0 do
    local members = redis.call('ZRANGE', key, 0, math.min(left, AT_ONCE) - 1)
    if #members == 0 then
      break
    end
    local ids, freed = {}, {}
    for i, member in ipairs(members) do
      ids[i] = id_of(member)
    end
    redis.call('ZREM', key, unpack(members)) -- before `drop_copies`: an event must not be released twice
    drop_copies(ids, waited, freed)
    for _, id in ipairs(freed) do
      gone[#gone + 1] = id
      if is_chosen(id) then
        chosen[#chosen + 1] = id
      end
    end
    left = bytes > MAX_READ_BYTES and 0 or left - #members
  end
end

local keys = {}
for i, name in ipairs(SETS) do
  keys[i] = aside_key(deletion, name)
  drop_copies_of(keys[i], not was_ephemeral and name ~= 'dead')
end
write_all('HDEL', topic_key('events'), gone)
remember_ids(chosen, window)
local is_left = redis.call('EXISTS', unpack(keys)) > 0
if not is_left then
  redis.call('SREM', topic_key('deleted'), ARGV[7])
end
return is_left and 1 or 0
