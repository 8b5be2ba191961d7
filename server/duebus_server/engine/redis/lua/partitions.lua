-- Shared by the scripts that change over how many partitions a topic is spread. Needs common.lua and deleting.lua.
--
-- All of them take, behind 1..5 as in common.lua:
--   6      until when this may be done, microseconds: the caller holds the lock of the change for so long
--
-- `partitions` in the topic's `config` is absent for one partition, 'N', or 'N>M' while it is being changed to M, 0 for a
-- topic that is being deleted. In that of a partition it is 'N' while that is open.

local LATE, HELD = 'late', 'held'

local function is_late()
  return now > tonumber(ARGV[6])
end

-- How many partitions the topic has, and how many it is to have.
local function read_partitions()
  local text = redis.call('HGET', topic_key('config'), 'partitions') or '1'
  local count, wanted = string.match(text, '^(%d+)>?(%d*)$')
  return tonumber(count or 1), tonumber(wanted)
end

local function write_partitions(text)
  if text == '1' then
    redis.call('HDEL', topic_key('config'), 'partitions')
  else
    redis.call('HSET', topic_key('config'), 'partitions', text)
  end
end

local function holds_events()
  return redis.call('EXISTS', topic_key('events'), topic_key('deleted')) > 0
end

-- Removes all that was kept here but the settings.
local function clear()
  local groups = { '', unpack(ALL_GROUPS) }
  for _, group in ipairs(groups) do
    redis.call('UNLINK', unpack(keys_of(group)))
  end
  for _, name in ipairs(topic_key_names()) do
    if name ~= 'config' then
      redis.call('UNLINK', topic_key(name))
    end
  end
end

-- What the groups of a topic have beside events, as described by partition_describe.lua: for each group its name, how many
-- names and values follow, and those.
local function take_over(first)
  local at = first
  while at <= #ARGV do
    local group, count = ARGV[at], tonumber(ARGV[at + 1])
    redis.call('SADD', topic_key('groups'), group)
    if count > 0 then
      redis.call('HSET', group_key(group, 'group'), unpack(ARGV, at + 2, at + 1 + count))
    end
    at = at + 2 + count
  end
end
