-- Shared by the scripts for which ids have to be unique over several partitions. Needs common.lua.
--
-- A pin says which partition may have an event whose id a client chose; it is kept where the id is at home. Its score is
-- when it was last used, in milliseconds, times 64, and the number of the partition.

local PINS_KEY, USED_UNIT = topic_key('pinned'), 64

-- Whether this partition holds an event, or remembers it.
local function is_known(id)
  if redis.call('HEXISTS', topic_key('events'), id) == 1 then
    return true
  end
  local until_us = redis.call('ZSCORE', topic_key('recent'), id)
  return until_us and tonumber(until_us) > now
end

local function new_pin(part)
  return whole(math.floor(now / 1000) * USED_UNIT + tonumber(part))
end

local function pin_of(id)
  return redis.call('ZSCORE', PINS_KEY, id)
end

local function pinned_to(pin)
  return tonumber(pin) % USED_UNIT
end
