-- Finds events that are missing from the sets of a group that holds them, because Redis has lost a key. Each step
-- checks a few events. An event with a record returns to the state in that record; its lease starts over. For an event
-- without one, the due time is lost, so it becomes a dead letter in every group that may have held it.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      the server's lease, where the topic has none of its own, microseconds
--   7      the cursor that the previous step returned; 0 in the first step
-- returns  {now, {'', dead letters, ...} as in leases.lua, the next cursor (0 at the end, '' if nothing is lost), the
--          number of events that wait again, the number that are leased again, {group that has changed, ...}}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming
-- includes copies

local COPIES_PER_STEP, MAX_READ_BYTES = 100, 1000000 -- events times groups; a step also ends after this many bytes
local AT_ONCE = 10 -- roughly how many events are read at a time, at most
local LOST = 'Redis has lost when this event is due, and whether this group has settled it'

local groups = find_groups(ALL_GROUPS, true, '') or {}

local function is_all_there()
  local copies, fine = 0, true
  for _, group in ipairs(groups) do
    check_keys(group)
    local own = copies_in(ARGV[1], group)
    fine = fine and adds_up(ARGV[1], group, own)
    copies = copies + own
  end
  return fine and copies >= redis.call('HLEN', topic_key('events'))
end

-- Copies of deleted groups are in none of these sets until they are released.
local is_deleting = redis.call('EXISTS', topic_key('deleted')) == 1
if #groups == 0 or is_deleting or (ARGV[7] == '0' and is_all_there()) then
  return { whole(now), {}, '', 0, 0, {} }
end

regardless_of_memory()
for _, group in ipairs(groups) do -- `config` may be what is lost
  if redis.call('EXISTS', group_key(group, 'prioritized')) == 1 then
    open_gate(PRIORITIES)
  end
  if redis.call('EXISTS', group_key(group, 'slots'), group_key(group, 'opens')) > 0 then
    open_gate(POLICIES)
  end
end
local expires = whole(now + setting('lease', ARGV[6]))
local again, changed, report = { waiting = 0, leased = 0 }, {}, {}
local died = {} -- by group

local function put_back(group, id, record, place)
  local member = (record[PLACE] ~= '' and record[PLACE] or place) .. id
  local key = key_of(member)
  if key and record[IS_DEAD] == 0 and record[STARTED] ~= 0 then
    redis.call('HSET', group_key(group, 'keys'), key, member)
  end
  if record[IS_DEAD] == 1 then
    redis.call('ZADD', group_key(group, 'dead'), whole(now), member)
  elseif key and record[STARTED] == 0 then
    ordering().add_upcoming(group, { whole(record[DELIVER_AT]), member })
    again.waiting = again.waiting + 1
  elseif record[FENCE] ~= 0 then
    redis.call('ZADD', group_key(group, 'leased'), expires, member)
    again.leased = again.leased + 1
  else
    local queue = new_queue()
    enqueue(queue, record, record[DELIVER_AT], member)
    write_queue(group, queue)
    again.waiting = again.waiting + 1
  end
  changed[group] = true
end

local function make_dead(group, id, blob)
  local record = blank_record()
  record[PLACE], record[CHOSEN], record[IS_DEAD] = place_of(blob), has_flag(blob, CHOSEN_ID) and 1 or 0, 1
  record[STARTED], record[MAX_RETRIES], record[LAST_ERROR] = now, max_retries_of(blob), LOST
  remember(record, DEAD, LOST)
  redis.call('HSET', group_key(group, 'records'), id, cmsgpack.pack(record))
  redis.call('ZADD', group_key(group, 'dead'), whole(now), place_of(blob) .. id)
  free_keys(group, { place_of(blob) .. id })
  died[group] = died[group] or {}
  table.insert(died[group], id)
  changed[group] = true
end

-- Makes dead letters for `lost` copies, each of which was in one of these groups.
local function make_dead_in(candidates, id, blob, refs, lost)
  for _, group in ipairs(candidates) do
    make_dead(group, id, blob)
  end
  local holders, waits_in = refs[1] - lost + #candidates, math.max(0, refs[2] - lost)
  if holders > 1 then
    redis.call('HSET', topic_key('refs'), id, cmsgpack.pack({ holders, waits_in }))
  end
  count_dead(refs[2] > 0 and waits_in == 0 and 1 or 0)
end

local function check(id, blob)
  local refs = unpack_fields(redis.call('HGET', topic_key('refs'), id), 2) or { 1, 1 }
  local lost, without = refs[1], {}
  for _, group in ipairs(groups) do
    if find_copy(group, id, place_of(blob)) then
      lost = lost - 1
    else
      without[#without + 1] = group
    end
  end
  local candidates = {}
  for _, group in ipairs(without) do
    local record = lost > 0 and read_record(redis.call('HGET', group_key(group, 'records'), id))
    if record then -- only a group that holds the event has one
      put_back(group, id, record, place_of(blob))
      lost = lost - 1
    elseif group ~= '' and not is_ephemeral(group) then
      candidates[#candidates + 1] = group
    end
  end
  if lost > 0 and #candidates > 0 then
    make_dead_in(candidates, id, blob, refs, lost)
  end
end

-- Calls a function with each member and score of a sorted set of the group.
local function each_member(group, name, use)
  local members = redis.call('ZRANGE', group_key(group, name), 0, -1, 'WITHSCORES')
  for i = 1, #members, 2 do
    use(members[i], members[i + 1])
  end
end

-- Whether the place of an event in `keys` is not needed, because it has a slot of another kind, or none.
local function has_slot(group, member)
  return policies().key_policy(group).slots ~= 1
    or redis.call('ZSCORE', group_key(group, 'slots'), key_of(member) .. '\0' .. member)
end

-- Gives every event that is READY or LEASED a slot, if `slots` is lost.
local function restore_slots(group)
  local has_mark = redis.call('ZSCORE', group_key(group, 'slots'), KEYS_MARK)
  if not has_mark and redis.call('HDEL', group_key(group, 'group'), 'slotted') == 1 then
    for _, name in ipairs({ 'leased', 'suspects', 'waiting', 'prioritized' }) do
      each_member(group, name, function(member)
        if key_of(member) then
          ordering().restore_slot(group, member)
        end
      end)
    end
  elseif has_mark then -- `group` may be what is lost
    redis.call('HSET', group_key(group, 'group'), 'slotted', '1')
  end
end

-- Makes the sets of events with keys consistent again, when one of them is lost. It takes one step, so that no event of
-- a key is delivered meanwhile before its turn.
local function restore_keys(group)
  each_member(group, 'by_key', function(entry)
    local key = string.match(entry, '^[^%z]*')
    local member, due = ordering().read_entry(entry, key)
    if not redis.call('ZSCORE', group_key(group, 'blocked'), member) then
      redis.call('ZADD', group_key(group, 'upcoming'), 'NX', whole(due), member)
    end
  end)
  for _, name in ipairs({ 'upcoming', 'blocked' }) do
    each_member(group, name, function(member, due)
      redis.call('ZADD', group_key(group, 'by_key'), 0, ordering().entry_of(member, tonumber(due)))
    end)
  end
  for _, name in ipairs({ 'leased', 'suspects', 'waiting', 'prioritized' }) do
    each_member(group, name, function(member)
      if key_of(member) and not has_slot(group, member) then
        redis.call('HSETNX', group_key(group, 'keys'), key_of(member), member)
      end
    end)
  end
  local is_keyed = redis.call('HEXISTS', group_key(group, 'group'), 'keyed') == 1
  if is_keyed or redis.call('HEXISTS', group_key(group, 'keys'), KEYS_MARK) == 1 then
    redis.call('HSET', group_key(group, 'group'), 'keyed', '1')
    redis.call('HSET', group_key(group, 'keys'), KEYS_MARK, '')
  end
  if HAS_POLICIES then
    restore_slots(group)
  end
  if not redis.call('ZSCORE', group_key(group, 'opens'), KEYS_MARK) then
    redis.call('HDEL', group_key(group, 'group'), 'closed')
  end
  each_member(group, 'blocked', function(member, due)
    if HAS_POLICIES or redis.call('HEXISTS', group_key(group, 'keys'), key_of(member)) == 0 then
      redis.call('ZADD', group_key(group, 'upcoming'), due, member)
      redis.call('ZREM', group_key(group, 'blocked'), member)
    end
  end)
end

-- Ranks the events with priorities again.
local function restore_ranks(group)
  redis.call('DEL', group_key(group, 'ranked'))
  each_member(group, 'prioritized', function(member, due)
    add_prioritized(group, { due, member })
  end)
end

-- Counts the leases of a group's sessions again, from its records.
local function count_leases(group)
  local members, ids, held = redis.call('ZRANGE', group_key(group, 'leased'), 0, -1), {}, {}
  for i = 1, #members do
    ids[i] = id_of(members[i])
  end
  local raws = read_all('HMGET', group_key(group, 'records'), ids)
  for i = 1, #ids do
    local record = read_record(raws[i])
    if record then
      held[record[SESSION]] = (held[record[SESSION]] or 0) + 1
    end
  end
  redis.call('DEL', group_key(group, 'in_flight'))
  for session, count in pairs(held) do
    add_in_flight(group, session, count)
  end
end

if ARGV[7] == '0' then
  for _, group in ipairs(groups) do
    if not keys_add_up(ARGV[1], group) then
      restore_keys(group)
      changed[group] = true
    end
    if not ranks_add_up(ARGV[1], group) then
      restore_ranks(group)
      changed[group] = true
    end
  end
end

local cursor, checked, bytes = ARGV[7], 0, 0
local count = math.max(1, math.min(AT_ONCE, math.floor(COPIES_PER_STEP / #groups)))
repeat
  local found = redis.call('HSCAN', topic_key('events'), cursor, 'COUNT', count)
  cursor = found[1]
  for i = 1, #found[2], 2 do
    local blob = found[2][i + 1]
    if #blob >= HEADER_SIZE then -- a damaged event that is leased becomes a dead letter there
      check(found[2][i], blob)
    end
    checked, bytes = checked + #groups, bytes + #blob
  end
until cursor == '0' or checked >= COPIES_PER_STEP or bytes >= MAX_READ_BYTES
local names = {}
for group in pairs(changed) do
  names[#names + 1] = group
  note_changed('dead', died[group] or {})
  report_changed(group, report)
  move_due(group)
  wake(group, now)
end
if cursor == '0' then
  for _, group in ipairs(groups) do
    if not adds_up(ARGV[1], group, copies_in(ARGV[1], group)) then
      count_leases(group)
    end
  end
end
return { whole(now), report, cursor, again.waiting, again.leased, names }
