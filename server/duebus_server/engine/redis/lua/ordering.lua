-- Shared by the scripts that move events with keys. Needs waking.lua; admission.lua has the functions that they call.
--
-- At most one of a key's events in a group is READY, LEASED or waiting for its next attempt: the head. `keys` has its
-- member. The others are in `upcoming` or in `blocked`, each by its due time, and in `by_key`, in the order in which
-- they become the head. A head that was leased stays the head; before that, an event that was due earlier takes its
-- place.
--
-- This is the order under the default key policy; slots.lua has the others.

-- The sorted sets that may have a member.
local function sets_of(member)
  local waiting = waiting_set_of(member)
  if key_of(member) then
    return { waiting, 'suspects', 'leased', 'dead', 'upcoming', 'blocked' }
  end
  return { waiting, 'suspects', 'leased', 'dead' }
end

-- The most events that are moved out of `upcoming` in one step, and the most keys that are opened.
local MOVED_AT_ONCE = 1000

-- A field that `keys` has while the group has events with keys, as `keyed` in its hash `group`. If only one of them is
-- there, Redis has lost the other.
local KEYS_MARK = ''

-- Lua creates the functions of a script again in each run. These are created when one of them is first called, so that a run
-- without keys does not pay for them.
local function make_ordering()

  -- As `check_keys`. Scripts call it when they have found an event with a key.
  local function check_key_sets(group)
    for _, name in ipairs({ 'upcoming', 'blocked', 'by_key' }) do
      redis.call('ZCARD', group_key(group, name))
    end
    redis.call('HLEN', group_key(group, 'keys'))
    for _, name in ipairs(HAS_POLICIES and { 'slots', 'opens', 'tats', 'pauses' } or {}) do
      redis.call('ZCARD', group_key(group, name))
    end
  end

  -- What precedes the entries in `by_key` of the events of a key that are due at a time, in microseconds.
  local function entries_at(key, due)
    return key .. '\0' .. struct.pack('>I8', due)
  end

  -- An event's entry in `by_key`.
  local function entry_of(member, due)
    local key = key_of(member)
    return entries_at(key, due) .. string.sub(member, 1, 4) .. string.sub(member, 6 + #key)
  end

  -- The member of an entry, and when the event is due.
  local function read_entry(entry, key)
    local due, place = struct.unpack('>I8c4', entry, #key + 2)
    return place .. string.char(#key) .. key .. string.sub(entry, #key + 14), due
  end

  -- The first event of a key that is due and not its head: member, due time, entry; or nil.
  local function next_of(group, key)
    local first, behind = '[' .. key .. '\0', '(' .. entries_at(key, now + 1)
    local entry = redis.call('ZRANGEBYLEX', group_key(group, 'by_key'), first, behind, 'LIMIT', 0, 1)[1]
    if entry then
      local member, due = read_entry(entry, key)
      return member, due, entry
    end
  end

  -- As `next_of`, for at most `limit` of them: arrays of members, due times and entries.
  local function first_due_of(group, key, limit)
    local first, behind = '[' .. key .. '\0', '(' .. entries_at(key, now + 1)
    local members, dues = {}, {}
    local entries = redis.call('ZRANGEBYLEX', group_key(group, 'by_key'), first, behind, 'LIMIT', 0, limit)
    for i, entry in ipairs(entries) do
      members[i], dues[i] = read_entry(entry, key)
    end
    return members, dues, entries
  end

  -- How many events of a key are due, without its head.
  local function count_due(group, key)
    local first, behind = '[' .. key .. '\0', '(' .. entries_at(key, now + 1)
    return redis.call('ZLEXCOUNT', group_key(group, 'by_key'), first, behind)
  end

  -- Notes that the group has events with keys, unless `keys` has the mark already.
  local function note_keys(group, mark)
    if not mark and redis.call('HEXISTS', group_key(group, 'group'), 'keyed') == 0 then
      redis.call('HSET', group_key(group, 'group'), 'keyed', '1')
      redis.call('HSET', group_key(group, 'keys'), KEYS_MARK, '')
    end
  end

  -- The reverse, if the group has no events with keys any more.
  local function forget_keys(group)
    if redis.call('HLEN', group_key(group, 'keys')) == 1 and redis.call('EXISTS', group_key(group, 'by_key')) == 0 then
      redis.call('HDEL', group_key(group, 'keys'), KEYS_MARK)
      redis.call('HDEL', group_key(group, 'group'), 'keyed')
    end
  end

  -- Adds events to `upcoming` and `blocked`, as {upcoming = {due, member, ...}, blocked = ...}. The gate for priorities is
  -- opened now, because the script that makes them READY must be one that knows priorities.
  local function add_behind(group, queue)
    local entries = {}
    for _, scored in pairs(queue) do
      for i = 1, #scored, 2 do
        entries[#entries + 1], entries[#entries + 2] = 0, entry_of(scored[i + 1], tonumber(scored[i]))
        if priority_of(scored[i + 1]) ~= 0 then
          open_gate(PRIORITIES)
        end
      end
    end
    write_all('ZADD', group_key(group, 'by_key'), entries)
    for name, scored in pairs(queue) do
      write_all('ZADD', group_key(group, name), scored)
    end
  end

  -- Adds events with keys, as {due, member, ...}. They are moved on when they are due.
  local function add_upcoming(group, scored)
    add_behind(group, { upcoming = scored })
    if #scored > 0 then
      note_keys(group, redis.call('HGET', group_key(group, 'keys'), KEYS_MARK))
    end
  end

  -- Adds events to the sets of those that are READY.
  local function add_ready(group, members, dues)
    local ids, queue = {}, new_queue()
    for i, member in ipairs(members) do
      ids[i] = id_of(member)
    end
    local raws = read_all('HMGET', group_key(group, 'records'), ids)
    for i, member in ipairs(members) do
      enqueue(queue, raws[i] and read_record(raws[i]) or blank_record(), dues[i], member)
    end
    write_queue(group, queue)
  end

  -- Notes that these events are the heads of their keys, which the caller may know.
  local function take(group, members, keys)
    local heads = {}
    for i, member in ipairs(members) do
      heads[2 * i - 1], heads[2 * i] = keys and keys[i] or key_of(member), member
    end
    write_all('HSET', group_key(group, 'keys'), heads)
  end

  -- Makes events the heads of their keys, so that they are READY. The caller removes them from where they were.
  local function make_heads(group, members, dues)
    add_ready(group, members, dues)
    take(group, members)
  end

  -- When a head was due that an earlier event may replace, because it was not leased since it became due; or nil.
  local function replaceable_since(group, head)
    local score = redis.call('ZSCORE', group_key(group, waiting_set_of(head)), head)
      or redis.call('ZSCORE', group_key(group, 'suspects'), head)
    if score then
      local record = read_record(redis.call('HGET', group_key(group, 'records'), id_of(head)))
      return not (record and record[STARTED] ~= 0) and tonumber(score) or nil
    end
  end

  local function comes_before(due, member, other_due, other)
    if due == other_due then
      return struct.unpack('>I4', member) < struct.unpack('>I4', other)
    end
    return due < other_due
  end

  -- READY -> BLOCKED, for a head that was never leased.
  local function block_head(group, head, due)
    redis.call('ZADD', group_key(group, 'by_key'), 0, entry_of(head, due))
    redis.call('ZADD', group_key(group, 'blocked'), whole(due), head)
    for _, name in ipairs({ waiting_set_of(head), 'suspects' }) do
      remove_waiting(group, name, { head })
    end
  end

  -- SCHEDULED -> READY or BLOCKED, for events with keys that have become due, at most MOVED_AT_ONCE.
  local function move_due(group)
    check_keys(group)
    check_key_sets(group)
    local key = group_key(group, 'upcoming')
    local found = redis.call('ZRANGEBYSCORE', key, '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, MOVED_AT_ONCE)
    local keys, made = {}, {}
    for i = 1, #found, 2 do
      keys[#keys + 1] = key_of(found[i]) or ''
    end
    local heads = read_all('HMGET', group_key(group, 'keys'), keys)
    local members, dues, entries, blocked = {}, {}, {}, {}

    local function may_lead(head, member, due)
      local since = head and replaceable_since(group, head)
      if since and comes_before(due, member, since, head) then
        block_head(group, head, since)
        return true
      end
      return not head
    end

    for i = 1, #found, 2 do
      local at, member, due = (i + 1) / 2, found[i], tonumber(found[i + 1])
      if not made[keys[at]] and may_lead(heads[at], member, due) then
        made[keys[at]] = true
        members[#members + 1], dues[#dues + 1], entries[#entries + 1] = member, due, entry_of(member, due)
      else
        made[keys[at]] = true -- the others are due later
        blocked[#blocked + 1], blocked[#blocked + 2] = found[i + 1], member
      end
    end
    write_all('ZADD', group_key(group, 'blocked'), blocked)
    make_heads(group, members, dues)
    write_all('ZREM', group_key(group, 'by_key'), entries)
    redis.call('ZREMRANGEBYRANK', key, 0, #found / 2 - 1)
  end

  -- Adds those of the new events with keys that are not READY. The first due event of a key without a head becomes the
  -- head, and is left to the caller. Takes arrays of keys and due times; `scored` is {due, member, ...}. Returns
  -- index -> the name of the sorted set for those that were added; the heads, for which the caller has to `take`; and
  -- their keys.
  local function hold_back(group, keys, dues, scored)
    local due_keys, at = { KEYS_MARK }, {}
    for i = 1, #dues do
      if keys[i] and dues[i] <= now then
        due_keys[#due_keys + 1], at[i] = keys[i], #due_keys + 1
      end
    end
    local heads = read_all('HMGET', group_key(group, 'keys'), due_keys)
    note_keys(group, heads[1])
    local behind, made, new_heads, head_keys = {}, {}, {}, {}
    local queue = { upcoming = {}, blocked = {} }
    for i = 1, #dues do
      local key, member = keys[i], scored[2 * i]
      if at[i] and not heads[at[i]] and not made[key] then
        made[key] = true
        new_heads[#new_heads + 1], head_keys[#head_keys + 1] = member, key
      elseif key then
        behind[i] = at[i] and 'blocked' or 'upcoming'
        local found = queue[behind[i]]
        found[#found + 1], found[#found + 2] = scored[2 * i - 1], member
      end
    end
    add_behind(group, queue)
    return behind, new_heads, head_keys
  end

  -- Removes events from `upcoming` and `blocked`, given as {due, member, ...}.
  local function remove_behind(group, name, scored)
    local members, entries = {}, {}
    for i = 1, #scored, 2 do
      members[#members + 1], entries[#entries + 1] = scored[i + 1], entry_of(scored[i + 1], tonumber(scored[i]))
    end
    write_all('ZREM', group_key(group, name), members)
    write_all('ZREM', group_key(group, 'by_key'), entries)
    if #members > 0 then
      forget_keys(group)
    end
  end

  -- As `add_ready`, for events in `upcoming` or `blocked`, which have these entries.
  local function make_ready(group, members, dues, entries)
    add_ready(group, members, dues)
    write_all('ZREM', group_key(group, 'by_key'), entries)
    write_all('ZREM', group_key(group, 'blocked'), members)
    write_all('ZREM', group_key(group, 'upcoming'), members)
  end

  -- As `make_heads`, likewise.
  local function bring_in(group, members, dues, entries)
    make_ready(group, members, dues, entries)
    take(group, members)
  end

  -- BLOCKED -> READY: brings in the next event of each key of which one of these events was the head. Every end of a
  -- head comes here. Returns when the first of the events that were brought in was due, or NEVER. The scripts call the
  -- function of the same name in slots.lua.
  local function free_keys(group, ended)
    local keys, members = {}, {}
    for _, member in ipairs(ended) do
      local key = key_of(member)
      if key then
        keys[#keys + 1], members[#members + 1] = key, member
      end
    end
    local heads = read_all('HMGET', group_key(group, 'keys'), keys)
    local is_done, next_ones, dues, entries, freed, soonest = {}, {}, {}, {}, {}, NEVER
    for i, key in ipairs(keys) do
      if not is_done[key] and (heads[i] == members[i] or not heads[i]) then -- it is only missing if Redis has lost it
        is_done[key] = true
        local member, due, entry = next_of(group, key)
        if member then
          next_ones[#next_ones + 1], dues[#dues + 1], entries[#entries + 1] = member, due, entry
          soonest = math.min(soonest, due)
        else
          freed[#freed + 1] = key
        end
      end
    end
    bring_in(group, next_ones, dues, entries)
    write_all('HDEL', group_key(group, 'keys'), freed)
    if #freed > 0 then
      forget_keys(group)
    end
    if soonest ~= NEVER then
      soonest = wake_ready(group, soonest)
    end
    return soonest
  end

  -- While due events are left in `upcoming`: replaces those of these heads that were never leased and that an earlier
  -- one has to precede. Returns whether there were any.
  local function correct_heads(group, heads)
    local has_changed = false
    for _, head in ipairs(heads) do
      local key = key_of(head)
      local member, due, entry = nil, nil, nil
      if key then
        member, due, entry = next_of(group, key)
      end
      local since = member and replaceable_since(group, head)
      if since and comes_before(due, member, since, head) then
        block_head(group, head, since)
        bring_in(group, { member }, { due }, { entry })
        has_changed = true
      end
    end
    return has_changed
  end

  return {
    check_key_sets = check_key_sets,
    entries_at = entries_at,
    entry_of = entry_of,
    read_entry = read_entry,
    next_of = next_of,
    first_due_of = first_due_of,
    count_due = count_due,
    add_upcoming = add_upcoming,
    take = take,
    make_ready = make_ready,
    bring_in = bring_in,
    replaceable_since = replaceable_since,
    comes_before = comes_before,
    block_head = block_head,
    move_due = move_due,
    note_keys = note_keys,
    forget_keys = forget_keys,
    add_behind = add_behind,
    hold_back = hold_back,
    remove_behind = remove_behind,
    free_keys = free_keys,
    correct_heads = correct_heads,
  }
end
