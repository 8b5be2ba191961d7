-- Shared by the scripts that change a topic's number of partitions. Needs common.lua and deleting.lua.
--
-- All of them take, after 1..5 as in common.lua:
--   6      the id of the change, unique to this attempt
--
-- `partitions` in a topic's `config` is absent for one partition, or 'N'; 'N>M/ID' while change ID is to make it M,
-- with 0 for a topic that is to be deleted; 'N>>M/ID' once that is decided. In a partition's `config` it is 'N' while
-- the partition is open, and 'N/ID' while it is closed and belongs to change ID. See DATA_MODEL.md.

local CHANGE = ARGV[6]
local HELD, REPLACED = 'held', 'replaced'
local TO_BE_DECIDED, DECIDED = '>', '>>'
local OPEN, CLOSED = tostring(PARTS), PARTS .. '/' .. CHANGE

-- nil if it is absent.
local function read_partitions()
  return redis.call('HGET', topic_key('config'), 'partitions') or nil
end

local function write_partitions(text)
  redis.call('HSET', topic_key('config'), 'partitions', text)
end

-- How many partitions the topic has; while a change is under way, also whether it is decided, how many partitions the
-- topic is to have, and the id.
local function read_change()
  local text = read_partitions() or '1'
  local count, mark, wanted, id = string.match(text, '^(%d+)(>+)(%d+)/(%x+)$')
  return tonumber(count or text) or 1, mark == DECIDED, tonumber(wanted), id
end

local function write_change(count, mark, wanted)
  write_partitions(count .. mark .. wanted .. '/' .. CHANGE)
end

local function has_schedules()
  return redis.call('HLEN', topic_key('schedules')) > 0
end

local function is_in_use()
  return has_schedules() or redis.call('EXISTS', topic_key('events'), topic_key('deleted')) > 0
end

-- Removes everything here except the settings.
local function clear()
  for _, group in ipairs({ '', unpack(ALL_GROUPS) }) do
    redis.call('UNLINK', unpack(keys_of(group)))
  end
  for _, name in ipairs(topic_key_names()) do
    if name ~= 'config' then
      redis.call('UNLINK', topic_key(name))
    end
  end
end

-- What a group has of these settings, as `gate` has it.
local function gate_of(...)
  local gate = 0
  for _, name in ipairs({ ... }) do
    gate = bit.bor(gate, name == 'keys' and POLICIES or 0, (name == 'limits' or name == 'paused_until') and LIMITS or 0)
  end
  return gate
end

-- Stores what the groups of a topic have besides events, as partition_describe.lua returns it: for each group its name,
-- its kind, how many names and values follow, and those.
local function take_over(first)
  local at = first
  while at <= #ARGV do
    local group, kind, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    redis.call('HSET', topic_key('groups'), group, kind)
    if count > 0 then
      redis.call('HSET', group_key(group, 'group'), unpack(ARGV, at + 3, at + 2 + count))
      read_gate(redis.call('HGET', topic_key('config'), 'gate'))
      open_gate(gate_of(unpack(ARGV, at + 3, at + 2 + count)))
    end
    at = at + 3 + count
  end
end
