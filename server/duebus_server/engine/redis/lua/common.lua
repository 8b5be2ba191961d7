-- Shared by every script. The loader puts it first, after the key functions of keys.py.
--
-- ARGV[1..5], the same in every script:
--   1 prefix     what the topic's keys begin with, hash tag included
--   2 now        '' for Redis's own TIME; a test's frozen clock otherwise (microseconds)
--   3 topic      its name, for notifications; where a topic has several partitions: topic/number/count
--   4 namespace  for channels
--   5 replica    the caller's id
--
-- When memory is full, Redis refuses commands that may need more (ZADD, HSET, ...), but only as the first write of a
-- script, so a refusal always comes before anything has changed. See `regardless_of_memory`.

local TOPIC, REPLICA = ARGV[3], ARGV[5]
local PART, PARTS = string.match(TOPIC, '/(%d+)/(%d+)$')
PART, PARTS = tonumber(PART or 0), tonumber(PARTS or 1)
local NEVER = 9e15

-- What the topic has, or has had: events with a priority; key policies or pauses of keys; limits or pauses of groups.
-- Nothing of these is looked at before. `gate` in `config` is the sum of their numbers.
local PRIORITIES, POLICIES, LIMITS = 1, 2, 4
local GATE, HAS_PRIORITIES, HAS_POLICIES, HAS_LIMITS = 0, false, false, false

local function read_gate(gate)
  GATE = tonumber(gate or 0) or 0
  HAS_PRIORITIES, HAS_POLICIES = bit.band(GATE, PRIORITIES) > 0, bit.band(GATE, POLICIES) > 0
  HAS_LIMITS = bit.band(GATE, LIMITS) > 0
end

-- The values in the topic's hash `groups`. An ephemeral group is removed with its last session.
local LASTING, EPHEMERAL = '', 'ephemeral'

-- Results of settling one lease. Sizes of adopted events are 0 or more.
local DONE, EXPIRED, SETTLED, NO_KEY = 0, -1, -2, -3

-- Fields of a record: what a group knows about an event that was leased at least once. Those that a settle needs come
-- first; see `read_lease`.
local FENCE, PLACE, CHOSEN, IS_DEAD, SESSION, CONSUMER = 1, 2, 3, 4, 5, 6
local STARTED, ATTEMPT, MAX_RETRIES, LAST_ERROR, HISTORY, DELIVER_AT = 7, 8, 9, 10, 11, 12
-- How many attempts use up no retry, because their lease ran out; and whether the lease was given to a session that was
-- stalled (0, 1), see LeaseRequest.
local FREE, STALLED = 13, 14

-- A field of a stored session. A command of an earlier round leases nothing to it, see lease.lua.
local ROUND = 4

-- How an attempt ended; see AttemptOutcome.
local NACKED, DEAD, RELEASED, LEASE_EXPIRED = 1, 2, 3, 4
local EXPIRY_ERROR = 'the lease expired before the delivery was settled'
local MAX_HISTORY = 20

-- How many arguments one call may have, because Lua's stack is bounded.
local STEP = 4000

local function clock()
  if ARGV[2] ~= '' then
    return tonumber(ARGV[2])
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local now = clock()

-- For scripts that reduce the backlog, so that a bus whose memory is full can be emptied: once a script
-- has written, Redis no longer refuses its commands when memory is full. PERSIST is never refused, and changes nothing.
local function regardless_of_memory()
  redis.call('PERSIST', KEYS[1])
end

-- A whole number as Redis reads it, without an exponent. ('%.0f' costs three times as much.)
local function whole(number)
  return string.format('%d', number)
end

-- Notes that the topic has these from now on.
local function open_gate(what)
  if bit.band(GATE, what) ~= what then
    read_gate(bit.bor(GATE, what))
    redis.call('HSET', topic_key('config'), 'gate', whole(GATE))
  end
end

-- A variadic write, in pieces.
local function write_all(command, key, arguments)
  for first = 1, #arguments, STEP do
    redis.call(command, key, unpack(arguments, first, math.min(first + STEP - 1, #arguments)))
  end
end

-- A variadic read (HMGET, ZMSCORE), in pieces; one result for each argument, false for what is not there.
local function read_all(command, key, arguments)
  local results = {}
  for first = 1, #arguments, STEP do
    local part = redis.call(command, key, unpack(arguments, first, math.min(first + STEP - 1, #arguments)))
    for i = 1, #part do
      results[first + i - 1] = part[i]
    end
  end
  return results
end

-- An array of at least this many fields that a script has packed; nil for anything else.
local function unpack_fields(raw, count)
  if not raw then
    return nil
  end
  local fine, fields = pcall(cmsgpack.unpack, raw)
  return fine and type(fields) == 'table' and #fields >= count and fields or nil
end

local function check_prioritized(group)
  redis.call('ZCARD', group_key(group, 'prioritized'))
  redis.call('ZCARD', group_key(group, 'ranked'))
end

-- Reads every key of a group that a script may write, so that one of a wrong type is found before anything has changed.
-- Dispatch, lease and ack read only those that they write and have not read: each read costs Redis half a microsecond.
local function check_keys(group)
  redis.call('HLEN', topic_key('events'))
  redis.call('HLEN', topic_key('refs'))
  redis.call('HLEN', topic_key('meta'))
  for _, name in ipairs({ 'waiting', 'suspects', 'leased', 'dead', 'upcoming', HAS_POLICIES and 'opens' or nil }) do
    redis.call('ZCARD', group_key(group, name))
  end
  for _, name in ipairs({ 'records', 'sessions', 'in_flight', 'group' }) do
    redis.call('HLEN', group_key(group, name))
  end
  if HAS_PRIORITIES then
    check_prioritized(group)
  end
end

-- A topic's hash `config` has the settings that differ from the server's; a group's hash `group` has its own retry
-- policy. Scripts read them in the step that uses them, so a change takes effect at once and everywhere.
local function number_or(value, default)
  local number = tonumber(value or '')
  return number and number >= 0 and number < NEVER and number or tonumber(default)
end

-- `config` by name, as moved.lua has read it; nil in a script that runs without moved.lua.
local CONFIG = nil

local function read_config(flat)
  CONFIG = {}
  for i = 1, #flat, 2 do
    CONFIG[flat[i]] = flat[i + 1]
  end
end

-- A setting of the topic; `default` is the server's.
local function setting(name, default)
  if CONFIG then
    return number_or(CONFIG[name], default)
  end
  return number_or(redis.call('HGET', topic_key('config'), name), default)
end

-- A setting of a group's retry policy: its own, or else the topic's.
local function group_setting(group, name, default)
  return number_or(redis.call('HGET', group_key(group, 'group'), name), setting(name, default))
end

-- With pcall, because scripts call this between their writes: a key of the wrong type must stop them earlier, not here.
local function is_ephemeral(group)
  return redis.pcall('HGET', topic_key('groups'), group) == EPHEMERAL
end

-- The settings that a group has of its own: {name, value, ...}. And what it has if an operator has paused it, or false.
local function own_settings(prefix, group)
  local names = { 'max_retries', 'backoff_initial', 'backoff_max', 'limits', 'keys', 'paused' }
  local values = redis.call('HMGET', group_key_of(prefix, group, 'group'), unpack(names))
  local own = {}
  for i = 1, #names - 1 do
    if values[i] then
      own[#own + 1] = names[i]
      own[#own + 1] = values[i]
    end
  end
  return own, values[#names]
end

-- The due time of 'd<microseconds>', counted from now, or of 'a<microseconds>', a time that may have passed.
local function due_at(text)
  local time = tonumber(string.sub(text, 2))
  return string.sub(text, 1, 1) == 'd' and now + time or math.max(now, time)
end

-- A member of a sorted set: four bytes that keep the order of dispatch, whose last two bits say whether the event has a
-- key (1) and a priority (2); the key, after its length in a byte; the priority in four bytes; the packed id. Returns how
-- many bytes precede the id, and how many of these precede the priority.
local PRIORITY_SIZE = 4
local function size_of_place(member)
  local _, _, _, last, length = string.byte(member, 1, 5)
  local marks = (last or 0) % 4
  local front = marks % 2 == 1 and 5 + (length or 0) or 4
  local size = marks >= 2 and front + PRIORITY_SIZE or front
  if size > #member or front == 5 then -- it is damaged
    return 4, 4
  end
  return size, front
end

local function id_of(member)
  if (string.byte(member, 4) or 0) % 4 == 0 then
    return string.sub(member, 5)
  end
  return string.sub(member, size_of_place(member) + 1)
end

-- What precedes the id in a member.
local function place_in(member)
  return string.sub(member, 1, size_of_place(member))
end

-- The key of an event, from its member or what precedes the id there; nil without one.
local function key_of(member)
  local _, front = size_of_place(member)
  return front > 4 and string.sub(member, 6, front) or nil
end

-- The priority of an event, likewise; 0 without one.
local function priority_of(member)
  local size, front = size_of_place(member)
  return size > front and (struct.unpack('>i4', member, front + 1)) or 0
end

-- Adds to the number of leases that a session holds. A session that holds none has no field.
local function add_in_flight(group, session, count)
  if count ~= 0 and redis.call('HINCRBY', group_key(group, 'in_flight'), session, count) <= 0 then
    redis.call('HDEL', group_key(group, 'in_flight'), session)
  end
end

-- The parts of a blob, see DATA_MODEL.md: time, place, flags and checksum are the header; the key, the priority,
-- max_retries and the origin follow.
local HEADER_SIZE = 17
local CHOSEN_ID, KEYED, OWN_MAX_RETRIES, ADDRESS, PRIORITIZED = 1, 2, 4, 8, 16
local MAX_RETRIES_SIZE, ADDRESS_SIZE = 4, 6

local function has_flag(blob, flag)
  return bit.band(string.byte(blob, 13), flag) > 0
end

-- The size of the header, the key and the priority.
local function front_size(blob)
  local flags = string.byte(blob, 13)
  local key = flags % (2 * KEYED) >= KEYED and 1 + (string.byte(blob, HEADER_SIZE + 1) or 0) or 0
  return HEADER_SIZE + key + (flags >= PRIORITIZED and PRIORITY_SIZE or 0)
end

-- What precedes the id in the event's members.
local function place_of(blob)
  return string.sub(blob, 9, 12) .. string.sub(blob, HEADER_SIZE + 1, front_size(blob))
end

-- For a damaged blob the result is wrong, but not an error: the replica that gets the event notices by the checksum.
local function max_retries_of(blob)
  if has_flag(blob, OWN_MAX_RETRIES) and #blob >= front_size(blob) + MAX_RETRIES_SIZE then
    return (struct.unpack('>I4', blob, front_size(blob) + 1))
  end
  return -1
end

-- The size of an event's body as the bus knows it, from its blob; see DATA_MODEL.md. Each lease calls it for each event,
-- so it calls nothing itself, and reads only the flags of what is usual: an address, and nothing else before the body.
local function body_size(blob)
  local flags = string.byte(blob, 13)
  if (flags == ADDRESS or flags == ADDRESS + CHOSEN_ID) and #blob >= HEADER_SIZE + ADDRESS_SIZE then
    return #blob - HEADER_SIZE - ADDRESS_SIZE
  end
  local key = flags % (2 * KEYED) >= KEYED and 1 + (string.byte(blob, HEADER_SIZE + 1) or 0) or 0
  local before = HEADER_SIZE + key + (flags >= PRIORITIZED and PRIORITY_SIZE or 0)
    + (bit.band(flags, OWN_MAX_RETRIES) > 0 and MAX_RETRIES_SIZE or 0)
  local origin = bit.band(flags, ADDRESS) > 0 and ADDRESS_SIZE or 1 + (string.byte(blob, before + 1) or 0)
  return math.max(0, #blob - before - origin)
end

-- The first score in a sorted set, or NEVER.
local function first_in(key)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) or NEVER
end

-- The same of one of the group's.
local function first_score(group, name)
  return first_in(group_key(group, name))
end

-- Rates are counted in buckets of this width: fields `bucket:kind` of the group's hash `rates`. The last BUCKETS count,
-- and the hash expires when nothing was counted for longer.
local BUCKET_US, BUCKETS, RATES_LAST_S = 10000000, 6, 80

local function bucket_of(field)
  return tonumber(string.match(field, '^(%d+):'))
end

-- Removes the buckets that no longer count.
local function drop_old_buckets(key, current)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local bucket = bucket_of(field)
    if not bucket or bucket < current - BUCKETS or bucket > current then
      redis.call('HDEL', key, field)
    end
  end
  redis.call('EXPIRE', key, RATES_LAST_S)
end

-- Counts `count` more of a kind in the current bucket. It is only a statistic, so an error in it fails nothing else.
local function mark(group, kind, count)
  local key, current = group_key(group, 'rates'), math.floor(now / BUCKET_US)
  local counted = redis.pcall('HINCRBY', key, whole(current) .. ':' .. kind, count)
  if counted == count then -- the bucket is new
    pcall(drop_old_buckets, key, current)
  end
end

-- Tells the other replicas that the group has something at `due`, unless all of them check by themselves before then
-- (`wake_at` says when), or the group is paused. Returns false while the group is paused.
local function wake(group, due)
  local key = group_key(group, 'group')
  local own = redis.call('HMGET', key, 'wake_at', 'paused')
  if own[2] then
    return false
  end
  if own[1] and due < tonumber(own[1]) then
    redis.call('HSET', key, 'wake_at', whole(due))
    redis.call('PUBLISH', wake_channel(), table.concat({ REPLICA, TOPIC, group, whole(due) }, '\0'))
  end
  return true
end

-- Notifies all replicas that a group was deleted ('' for the whole topic), or that the settings of a topic have
-- changed.
local function publish_change(what, group)
  redis.call('PUBLISH', changes_channel(), table.concat({ REPLICA, what, TOPIC, group, whole(now) }, '\0'))
end

-- A time as scripts return it, in microseconds; -1 for NEVER.
local function answer_time(due)
  return due == NEVER and -1 or whole(due)
end
