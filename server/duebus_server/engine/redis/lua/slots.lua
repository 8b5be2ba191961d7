-- Shared by the scripts that move events with keys. Needs policies.lua and ordering.lua.
--
-- Where a key policy is or was in force, or a key was paused, an event that is READY or LEASED has a slot of its key.
-- While keys have one slot, `keys` has the member of the event that has it, as in ordering.lua; otherwise `slots` has an
-- entry for each. What had its slot under an earlier policy keeps it. Where keys are ignored (0 slots), events have
-- none. A dead letter that holds its key keeps its place in `keys`, and those that got a slot under an earlier policy
-- lose it.
--
-- A key whose rate or a pause is what blocks its events is in `opens`, with the time when it opens.

-- For how long `tats` and `pauses` are kept after the last of their times has passed.
local KEPT_MS = 60000

-- Made when the first of these is called, as in ordering.lua: what differs from there.
local function make_slots(order)
  local rules = policies()
  local key_policy = rules.key_policy

  local function range_of(key)
    return '[' .. key .. '\0', '(' .. key .. '\1'
  end

  local function slot_of(member)
    return key_of(member) .. '\0' .. member
  end

  -- The events that have a slot of a key, without the one in `keys`.
  local function holders_of(group, key)
    local members = redis.call('ZRANGEBYLEX', group_key(group, 'slots'), range_of(key))
    for i, entry in ipairs(members) do
      members[i] = string.sub(entry, #key + 2)
    end
    return members
  end

  -- Whether one of the events that have a slot of a key is not LEASED.
  local function has_waiting(group, key, head)
    local members = holders_of(group, key)
    members[#members + 1] = head or nil
    for _, expiry in ipairs(read_all('ZMSCORE', group_key(group, 'leased'), members)) do
      if not expiry then
        return true
      end
    end
    return false
  end

  -- A key's score in `tats` or `pauses`.
  local function time_of(group, name, key)
    return tonumber(redis.call('ZSCORE', group_key(group, name), key) or 0)
  end

  -- Sets some of these, as {time, key, ...}. Those that have passed are removed, at most MOVED_AT_ONCE; Redis removes all
  -- of them a while after the last one has passed.
  local function set_times(group, name, times)
    local set = group_key(group, name)
    write_all('ZADD', set, times)
    local passed = redis.call('ZCOUNT', set, '-inf', whole(now))
    if passed > 0 then
      redis.call('ZREMRANGEBYRANK', set, 0, math.min(passed, MOVED_AT_ONCE) - 1)
    end
    local last = redis.call('ZRANGE', set, -1, -1, 'WITHSCORES')[2] or now
    redis.call('PEXPIRE', set, whole(math.max(0, tonumber(last) - now) / 1000 + KEPT_MS))
  end

  -- When a key's rate and pause allow its next delivery; now or in the past if they do.
  local function opening_of(group, key)
    local rate = key_policy(group).rate
    return math.max(time_of(group, 'pauses', key), rate and rules.rate_opens_at(rate, time_of(group, 'tats', key)) or 0)
  end

  -- Gives events a place in `slots`, as {0, entry, ...}. While there are some, `slots` also has a mark, and the group's
  -- hash `group` has the field `slotted`: if only one of them is there, Redis has lost the other.
  local function write_slots(group, entries)
    local slots = group_key(group, 'slots')
    if #entries > 0 and redis.call('ZADD', slots, 0, KEYS_MARK) == 1 then
      redis.call('HSET', group_key(group, 'group'), 'slotted', '1')
    end
    write_all('ZADD', slots, entries)
  end

  -- The reverse.
  local function remove_slots(group, entries)
    local slots = group_key(group, 'slots')
    write_all('ZREM', slots, entries)
    if redis.call('ZCARD', slots) == 1 and redis.call('ZREM', slots, KEYS_MARK) == 1 then
      redis.call('HDEL', group_key(group, 'group'), 'slotted')
    end
  end

  -- Notes that a key has this head.
  local function set_head(group, key, member)
    remove_slots(group, { slot_of(member) })
    order.note_keys(group, redis.call('HGET', group_key(group, 'keys'), KEYS_MARK))
    order.take(group, { member }, { key })
  end

  -- Where a dead letter that held its key under an earlier policy is still in `keys`: group .. '\0' .. key -> true. Until an
  -- event of the key gets a slot, it stays there, in case the policy is to hold again.
  local former_holds = {}

  -- The event in `keys`, without a dead letter that held its key under an earlier policy. Where keys have one slot, an event that got its slot when
  -- they had more becomes the head.
  local function head_of(group, key)
    local head, policy = redis.call('HGET', group_key(group, 'keys'), key), key_policy(group)
    if head and not policy.holds and redis.call('ZSCORE', group_key(group, 'dead'), head) then
      former_holds[group .. '\0' .. key], head = true, false
    end
    if not head and policy.slots == 1 then
      head = holders_of(group, key)[1] or false
      if head then
        set_head(group, key, head)
      end
    end
    return head
  end

  -- How many more events of a key may be READY; if none because of its rate or a pause, also when it opens.
  local function room_of(group, key)
    local policy, head = key_policy(group), head_of(group, key)
    local room = policy.slots - (head and 1 or 0) - redis.call('ZLEXCOUNT', group_key(group, 'slots'), range_of(key))
    if room <= 0 then
      return 0
    end
    local opens_at = opening_of(group, key)
    if opens_at > now then
      return 0, opens_at
    end
    if policy.rate then
      return has_waiting(group, key, head) and 0 or 1
    end
    return room
  end

  -- Gives events a slot of their keys.
  local function take(group, members)
    local slots, entries, opened = key_policy(group).slots, {}, {}
    if slots == 1 then
      order.take(group, members)
    elseif slots > 1 then
      for i, member in ipairs(members) do
        entries[2 * i - 1], entries[2 * i] = 0, slot_of(member)
        opened[#opened + 1] = former_holds[group .. '\0' .. key_of(member)] and key_of(member) or nil
      end
      write_slots(group, entries)
      write_all('HDEL', group_key(group, 'keys'), opened)
    end
  end

  -- Takes back the slots of events.
  local function give_up(group, members)
    local keys, heads, entries = {}, {}, {}
    for i, member in ipairs(members) do
      keys[i], entries[i] = key_of(member), slot_of(member)
    end
    for i, head in ipairs(read_all('HMGET', group_key(group, 'keys'), keys)) do
      if head == members[i] then
        heads[#heads + 1] = keys[i]
      end
    end
    write_all('HDEL', group_key(group, 'keys'), heads)
    remove_slots(group, entries)
    order.forget_keys(group)
  end

  -- Adds to `opens`, as {time, key, ...}. While there are some, `opens` also has a mark, and the group's hash `group` has
  -- the field `closed`: if only one of them is there, Redis has lost the other.
  local function write_opens(group, opens)
    local key = group_key(group, 'opens')
    if #opens > 0 then
      opens[#opens + 1], opens[#opens + 2] = whole(NEVER), KEYS_MARK
      redis.call('HSET', group_key(group, 'group'), 'closed', '1')
      write_all('ZADD', key, opens)
    elseif redis.call('ZCARD', key) == 1 then
      redis.call('ZREM', key, KEYS_MARK)
      redis.call('HDEL', group_key(group, 'group'), 'closed')
    end
  end

  -- BLOCKED -> READY: brings in the next events of each key, for which it has room. Returns when the first of them was
  -- due, or when the first key opens that is closed, or NEVER.
  local function fill(group, keys)
    local soonest, is_done, opens = NEVER, {}, {}
    for _, key in ipairs(key_policy(group).slots > 0 and keys or {}) do
      local room, opens_at = 0, nil
      if not is_done[key] then
        is_done[key] = true
        room, opens_at = room_of(group, key)
      end
      if room > 0 then
        local members, dues, entries = order.first_due_of(group, key, math.min(room, MOVED_AT_ONCE))
        soonest = math.min(soonest, dues[1] or NEVER)
        order.make_ready(group, members, dues, entries)
        take(group, members)
      elseif opens_at and order.count_due(group, key) > 0 then
        opens[#opens + 1], opens[#opens + 2] = whole(opens_at), key
        soonest = math.min(soonest, opens_at)
      end
    end
    write_all('ZREM', group_key(group, 'opens'), keys)
    write_opens(group, opens)
    return soonest
  end

  -- The keys of some members, each once.
  local function keys_of_members(members)
    local keys, is_known = {}, {}
    for _, member in ipairs(members) do
      local key = key_of(member)
      if key and not is_known[key] then
        is_known[key] = true
        keys[#keys + 1] = key
      end
    end
    return keys
  end

  -- Whether a dead letter closes a key that has this head.
  local function is_held(group, head)
    return head and key_policy(group).holds and redis.call('ZSCORE', group_key(group, 'dead'), head)
  end

  -- Takes the slot of an event that is due then and not LEASED: READY -> BLOCKED. One that is SCHEDULED will be BLOCKED.
  local function give_way(group, member, due)
    local raw = redis.call('HGET', group_key(group, 'records'), id_of(member))
    local record = raw and read_record(raw)
    if record and record[STARTED] ~= 0 then
      record[STARTED] = 0
      redis.call('HSET', group_key(group, 'records'), id_of(member), cmsgpack.pack(record))
    end
    order.add_behind(group, { [due <= now and 'blocked' or 'upcoming'] = { whole(due), member } })
    for _, name in ipairs({ waiting_set_of(member), 'suspects' }) do
      remove_waiting(group, name, { member })
    end
    give_up(group, { member })
  end

  -- Calls a function with the set, member and due time of each of some events that is READY, SCHEDULED or in its backoff.
  local function each_waiting(group, members, use)
    for _, name in ipairs(WAITING_SETS) do
      for i, due in ipairs(read_all('ZMSCORE', group_key(group, name), members)) do
        if due then
          use(name, members[i], tonumber(due))
        end
      end
    end
  end

  -- Makes a dead letter hold its key, unless another one does. Others that got a slot under an earlier policy lose it, if
  -- they are not LEASED.
  local function hold(group, member)
    local key = key_of(member)
    local head = head_of(group, key)
    if head and head ~= member then
      if is_held(group, head) then
        return false
      end
      write_slots(group, { 0, slot_of(head) })
    end
    set_head(group, key, member)
    each_waiting(group, holders_of(group, key), function(_, other, due)
      give_way(group, other, due)
    end)
    return true
  end

  -- As in ordering.lua. A dead letter among `ended` that holds its key from now on stays in `keys`.
  local function free_keys(group, ended, are_dead)
    local leaving, policy = {}, key_policy(group)
    for _, member in ipairs(ended) do
      if key_of(member) and not (are_dead and policy.holds and hold(group, member)) then
        leaving[#leaving + 1] = member
      end
    end
    give_up(group, leaving)
    local soonest = fill(group, keys_of_members(leaving))
    if soonest ~= NEVER then
      soonest = wake_ready(group, soonest)
    end
    return soonest
  end

  -- As in ordering.lua.
  local function hold_back(group, keys, dues, scored)
    local policy, behind, admitted, rooms, opens = key_policy(group), {}, {}, {}, {}
    local queue = { upcoming = {}, blocked = {} }
    order.note_keys(group, redis.call('HGET', group_key(group, 'keys'), KEYS_MARK))

    -- A key that has opened, but whose events were not brought in yet, goes on to hold back others.
    local function room_left(key)
      if not rooms[key] then
        local room, opens_at = room_of(group, key)
        rooms[key] = order.count_due(group, key) == 0 and room or 0
        if opens_at then
          opens[#opens + 1], opens[#opens + 2] = whole(opens_at), key
        end
      end
      return rooms[key]
    end

    for i = 1, #dues do
      local key, member = keys[i], scored[2 * i]
      if key and dues[i] > now then
        behind[i] = 'upcoming'
      elseif key and policy.slots > 0 then
        if room_left(key) > 0 then
          rooms[key], admitted[#admitted + 1] = rooms[key] - 1, member
        else
          behind[i] = 'blocked'
        end
      end
      if behind[i] then
        local found = queue[behind[i]]
        found[#found + 1], found[#found + 2] = scored[2 * i - 1], member
      end
    end
    order.add_behind(group, queue)
    write_opens(group, opens)
    return behind, admitted
  end

  -- Makes the first due event of a key its head, if the head was due later and was never leased. Returns when it was due,
  -- or NEVER.
  local function replace_head(group, key)
    local head, member, due, entry = head_of(group, key), order.next_of(group, key)
    local is_alone = head and redis.call('ZLEXCOUNT', group_key(group, 'slots'), range_of(key)) == 0
    local since = is_alone and member and order.replaceable_since(group, head)
    if since and order.comes_before(due, member, since, head) then
      order.block_head(group, head, since)
      order.bring_in(group, { member }, { due }, { entry })
      return due
    end
    return NEVER
  end

  -- As in ordering.lua.
  local function move_due(group)
    check_keys(group)
    order.check_key_sets(group)
    local upcoming, policy = group_key(group, 'upcoming'), key_policy(group)
    local found = redis.call('ZRANGEBYSCORE', upcoming, '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, MOVED_AT_ONCE)
    local members, dues, entries, blocked = {}, {}, {}, {}
    for i = 1, #found, 2 do
      local due = tonumber(found[i + 1])
      members[#members + 1], dues[#dues + 1], entries[#entries + 1] = found[i], due, order.entry_of(found[i], due)
      blocked[i], blocked[i + 1] = found[i + 1], found[i]
    end
    if policy.slots == 0 then
      order.make_ready(group, members, dues, entries)
      return
    end
    write_all('ZADD', group_key(group, 'blocked'), blocked)
    write_all('ZREM', upcoming, members)
    local keys = keys_of_members(members)
    for _, key in ipairs(policy.slots == 1 and keys or {}) do
      replace_head(group, key)
    end
    fill(group, keys)
  end

  -- Brings in the events of the keys whose time to open has come, at most MOVED_AT_ONCE.
  local function open_due(group)
    local opens = group_key(group, 'opens')
    local found = redis.call('ZRANGEBYSCORE', opens, '-inf', whole(now), 'LIMIT', 0, MOVED_AT_ONCE)
    if #found > 0 then
      check_keys(group)
      order.check_key_sets(group)
      fill(group, found)
    end
  end

  local function correct_heads(group, heads)
    return key_policy(group).slots == 1 and order.correct_heads(group, heads)
  end

  -- Counts deliveries of events for the rates of their keys, or counts them back. Returns the keys.
  local function count_for_rates(group, members, change)
    local rate, counts, times = key_policy(group).rate, {}, {}
    for _, member in ipairs(members) do
      local key = key_of(member)
      if key then
        counts[key] = (counts[key] or 0) + 1
      end
    end
    local keys = {}
    for key, count in pairs(counts) do
      local tat = time_of(group, 'tats', key)
      keys[#keys + 1] = key
      times[#times + 1] = whole(change > 0 and rules.rate_begun(rate, tat, count) or rules.rate_refunded(rate, tat, count))
      times[#times + 1] = key
    end
    if #keys > 0 then
      set_times(group, 'tats', times)
    end
    return keys
  end

  -- Counts events that were leased. Where several of a key may be, this brings in the next ones. Returns as `fill`.
  local function leased(group, members)
    local policy = key_policy(group)
    if not policy.rate then
      return NEVER
    end
    local keys = count_for_rates(group, members, 1)
    return policy.slots > 1 and fill(group, keys) or NEVER
  end

  -- Counts back events that were released.
  local function released(group, members)
    if key_policy(group).rate then
      count_for_rates(group, members, -1)
    end
  end

  local function has_slot(group, key, member)
    return redis.call('HGET', group_key(group, 'keys'), key) == member
      or redis.call('ZSCORE', group_key(group, 'slots'), slot_of(member))
  end

  -- LEASED -> READY, SCHEDULED or BLOCKED, for an event with a key whose lease has ended; `queue` is as in records.lua,
  -- with `upcoming`, `blocked` and `gave_up` besides. Where keys have one slot, the event keeps its own, and waits until the
  -- key opens. In other cases it gives up its slot. Returns when it is due, or NEVER if it is BLOCKED.
  local function put_back(group, queue, record, due, member)
    local key, slots = key_of(member), key_policy(group).slots
    if slots == 1 and has_slot(group, key, member) and not is_held(group, head_of(group, key)) then
      local opens_at = opening_of(group, key)
      record[DELIVER_AT] = opens_at > now and math.max(due, opens_at) or due
      enqueue(queue, record, record[DELIVER_AT], member)
      return record[DELIVER_AT]
    end
    queue.gave_up[#queue.gave_up + 1] = member
    record[DELIVER_AT] = due
    if slots == 0 then
      enqueue(queue, record, due, member)
      return due
    end
    record[STARTED] = 0
    local scored = due <= now and queue.blocked or queue.upcoming
    scored[#scored + 1], scored[#scored + 2] = whole(due), member
    return due <= now and NEVER or due
  end

  -- Writes what `put_back` has left for the end, once the records are written. Returns as `fill`.
  local function finish_put_back(group, queue)
    order.add_behind(group, { upcoming = queue.upcoming, blocked = queue.blocked })
    give_up(group, queue.gave_up)
    local keys, soonest = keys_of_members(queue.gave_up), NEVER
    for _, key in ipairs(key_policy(group).slots == 1 and keys or {}) do
      soonest = math.min(soonest, replace_head(group, key))
    end
    return math.min(soonest, fill(group, keys))
  end

  -- READY -> SCHEDULED until then, for an event that was leased and keeps its slot. Returns whether it was leased.
  local function wait_until(group, name, member, until_us)
    local raw = redis.call('HGET', group_key(group, 'records'), id_of(member))
    local record, queue = raw and read_record(raw), new_queue()
    if not record or record[STARTED] == 0 then
      return false
    end
    record[DELIVER_AT] = until_us
    redis.call('HSET', group_key(group, 'records'), id_of(member), cmsgpack.pack(record))
    remove_waiting(group, name, { member })
    enqueue(queue, record, until_us, member)
    write_queue(group, queue)
    return true
  end

  -- Takes back what is READY of a key that is paused until then: READY -> BLOCKED. Where keys have one slot, an event that
  -- was leased stays in front: READY -> SCHEDULED.
  local function take_back(group, key, until_us)
    local keeps_order, head, members = key_policy(group).slots == 1, head_of(group, key), holders_of(group, key)
    members[#members + 1] = head or nil
    each_waiting(group, members, function(name, member, due)
      if due <= now and not (keeps_order and wait_until(group, name, member, until_us)) then
        give_way(group, member, due)
      end
    end)
  end

  -- Pauses a key until then, at least.
  local function pause(group, key, until_us)
    until_us = math.max(until_us, time_of(group, 'pauses', key))
    set_times(group, 'pauses', { whole(until_us), key })
    take_back(group, key, until_us)
    fill(group, { key })
  end

  -- A dead letter is to be redriven. Returns whether it holds its key.
  local function keeps_place(group, member)
    local key = key_of(member)
    if head_of(group, key) == member then
      return true
    elseif redis.call('HGET', group_key(group, 'keys'), key) == member then -- it held its key under an earlier policy
      redis.call('HDEL', group_key(group, 'keys'), key)
    end
    return false
  end

  -- Gives a slot to an event that has none, though it is READY or LEASED, because Redis has lost `slots`.
  local function restore_slot(group, member)
    local key, slots = key_of(member), key_policy(group).slots
    if slots > 0 and not has_slot(group, key, member) then
      if slots == 1 and not redis.call('HGET', group_key(group, 'keys'), key) then
        set_head(group, key, member)
      else
        write_slots(group, { 0, slot_of(member) })
      end
    end
  end

  local functions = {
    restore_slot = restore_slot,
    keeps_place = keeps_place,
    is_held = is_held,
    head_of = head_of,
    opening_of = opening_of,
    room_of = room_of,
    holders_of = holders_of,
    take = take,
    free_keys = free_keys,
    hold_back = hold_back,
    move_due = move_due,
    open_due = open_due,
    correct_heads = correct_heads,
    leased = leased,
    released = released,
    put_back = put_back,
    finish_put_back = finish_put_back,
    pause = pause,
  }
  return setmetatable(functions, { __index = order })
end
