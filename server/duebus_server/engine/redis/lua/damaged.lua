-- Shared by the scripts that lease. Needs leases.lua.

local CORRUPT = 'the stored event is missing or corrupt'

-- Whether the group has the event of a blob under another member, so that this one is a stray.
local function is_stray(group, blob, id)
  for _, name in ipairs(sets_of(place_of(blob) .. id)) do
    if redis.call('ZSCORE', group_key(group, name), place_of(blob) .. id) then
      return true
    end
  end
  return false
end

-- READY -> DEAD: an event that can't be read does not hold up the others. Returns whether it is dead; a stray is only
-- removed from its set.
local function make_dead(group, member, blob, set)
  check_keys(group)
  local id, records_key = id_of(member), group_key(group, 'records')
  if #blob >= HEADER_SIZE and is_stray(group, blob, id) then
    remove_waiting(group, set, { member })
    return false
  end
  local before, record = read_record(redis.call('HGET', records_key, id)), blank_record()
  record[PLACE], record[IS_DEAD], record[STARTED], record[LAST_ERROR] = place_in(member), 1, now, CORRUPT
  remember(record, DEAD, CORRUPT)
  if redis.call('HEXISTS', topic_key('events'), id) == 0 then
    redis.call('HSET', topic_key('events'), id, '') -- so that it can be found and purged like any other
  end
  redis.call('HSET', records_key, id, cmsgpack.pack(record))
  redis.call('ZADD', group_key(group, 'dead'), whole(now), member)
  remove_waiting(group, set, { member })
  if not before or before[IS_DEAD] == 0 then
    change_waiting(group, { id }, -1)
    note_changed('dead', { id })
  end
  return true
end
