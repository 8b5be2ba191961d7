-- -> SCHEDULED, READY, BLOCKED or LEASED: stores the events of requests in every group of the topic, each request
-- completely or not at all. What is due is leased at once where a session has reserved room for it.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6, 7   the server's max_queued (0 for unlimited) and dedupe window (microseconds), if the topic has none of its own
--   8      how many reservations, at most one for each group; then for each: group, session, consumer; how many events
--            and bytes of bodies at most, whether the first may be larger (0, 1); lease ('' for the topic's) and the
--            server's; the session's round, whether it may take a suspect (0, 1), whether it is stalled (0, 1): all as
--            in lease.lua
--   then   how many requests; then for each:
--            request id ('' for none), its identity (a number), require_subscriber (0, 1), time of its generated
--            ids (ms), number of events;
--            one digit per event, the sum of 1 if the client chose the id, 2 if it has a key, and 4 if it has a
--            priority; '' if all are 0;
--            due: 'd<microseconds>' from now or 'a<microseconds>', one for all events, or one each, separated by spaces;
--            packed id, blob (see DATA_MODEL.md) without the time of dispatch and the place, ...
-- returns  {now, {group that is not paused and has no reservation, when it has something to lease, ...},
--           {answer, ...}, whether the topic may have been unlisted (0, 1), {hand-over, ...}}
--          one answer per request:
--            {status, time of the generated ids, places of duplicates...}, places from 0; status: 0 stored,
--            1 stored before (a repetition), 2 full, 3 no subscriber, 4 the request id was used for other events, 5 a
--            key has too many blocked events; after 2, the number queued and max_queued follow; after 5, the key, how
--            many of its events would be blocked, and how many may be
--          one hand-over per reservation: {} if its session has not joined, or has given this command up; otherwise
--            {how many of the events that were stored and are due; first fencing token (they go up by the number of
--            partitions), when the leases expire, next due or -1, whether the group is paused (0, 1), when the first
--            suspect is due that the session may not take or -1, {place of each among those that were stored and are
--            due, from 0, ...}, which is empty if they are the first}
-- includes granting
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes hand_over

local STORED, REPEATED, FULL, NO_SUBSCRIBER, REUSED, KEY_FULL = 0, 1, 2, 3, 4, 5

-- Each partition takes its share.
local max_queued, window = math.ceil(setting('max_queued', ARGV[6]) / PARTS), setting('dedupe_window', ARGV[7])
local events_key = topic_key('events')
local requests_key, earlier_requests_key = topic_key('requests'), topic_key('requests:earlier')
local groups = ALL_GROUPS
-- Without a lasting group, the events are also kept for the first one.
local receivers = LASTING_GROUPS > 0 and groups or { '', unpack(groups) }
local waiting_in = math.max(1, LASTING_GROUPS)

local at = 8 -- the argument that is read next

local function take()
  local value = ARGV[at]
  at = at + 1
  return value
end

-- How many events count for max_queued. Nothing is stored before all requests were read.
local queued = 0
if max_queued > 0 then
  queued = redis.call('HLEN', events_key) - tonumber(redis.call('HGET', topic_key('meta'), 'dead') or 0)
end
local reserved, reservations, reservation_in = tonumber(take()), {}, {}
if reserved > 0 then -- without any, the script is sent without hand_over.lua
  reservations, reservation_in = read_reservations(reserved, take, groups)
end
-- As `check_keys`, for what is written below and is not read before. `meta` is written first, and `known_answer` reads
-- where answers are kept.
if #receivers > 1 then
  redis.call('HLEN', topic_key('refs'))
end
for _, group in ipairs(receivers) do
  if not reservation_in[group] then
    redis.call('ZCARD', group_key(group, 'waiting'))
    redis.call('HLEN', group_key(group, 'group'))
    ready_at(group, now) -- reads what `announce` reads of a group with limits
  end
end

-- What the requests add: ids, due times, blobs, and what some events have in their members between the place and the id;
-- keys of those that have one. It is stored when all requests were read. Without any keys and priorities, the script is
-- sent without ordering.lua.
local new_ids, new_dues, new_blobs, is_new = {}, {}, {}, {}
local new_fronts, new_marks, new_keys, has_keys, has_priorities = {}, {}, {}, false, false

local function has_subscriber()
  for _, group in ipairs(groups) do
    if redis.call('EXISTS', group_key(group, 'sessions')) == 1 then
      return true
    end
  end
  return false
end

-- When events are due: one time for all, or one for each.
local function read_dues(text)
  local dues = {}
  for due in string.gmatch(text, '%S+') do
    dues[#dues + 1] = due_at(due)
  end
  return dues
end

-- Whether the topic holds an event of this id, or remembers it, or an earlier request adds it.
local function is_known(id)
  if is_new[id] or redis.call('HEXISTS', events_key, id) == 1 then
    return true
  end
  local until_us = redis.call('ZSCORE', topic_key('recent'), id)
  return until_us and tonumber(until_us) > now
end

-- The key and the priority of a new event.
local function read_front(i, blob, has_key, has_priority)
  local last = 5
  if has_key then
    new_keys[i], last = struct.unpack('>Bc0', blob, 6)
    last, has_keys = last - 1, true
  end
  if has_priority then
    last, has_priorities = last + PRIORITY_SIZE, true
  end
  new_fronts[i], new_marks[i] = string.sub(blob, 6, last), (has_key and 1 or 0) + (has_priority and 2 or 0)
end

-- Ids that clients chose can come twice. Ids that the server made follow from the request, so they are new unless the
-- request is repeated after its answer was forgotten; the first of them shows that. Adds the new events to what is
-- stored; returns the places of the others.
local function read_events(count)
  local marks, dues = take(), read_dues(take())
  local duplicates, last, made_are_new = {}, #new_ids, nil
  for place = 0, count - 1 do
    local id, blob = ARGV[at + 2 * place], ARGV[at + 2 * place + 1]
    local mark = marks ~= '' and string.byte(marks, place + 1) or 48 -- the digit 0
    local is_chosen = mark % 2 == 1
    if not is_chosen and made_are_new == nil then
      made_are_new = not is_known(id)
    end
    if (is_chosen or not made_are_new) and is_known(id) then
      duplicates[#duplicates + 1] = place
    else
      last = last + 1
      new_ids[last], new_dues[last], new_blobs[last], is_new[id] = id, dues[place + 1] or dues[1], blob, true
      if mark >= 50 then
        read_front(last, blob, mark % 4 >= 2, mark % 8 >= 4)
      end
    end
  end
  at = at + 2 * count
  return duplicates
end

-- Takes back what `read_events` has added after the first `kept` events.
local function take_back(kept)
  for i = #new_ids, kept + 1, -1 do
    is_new[new_ids[i]] = nil
    new_ids[i], new_dues[i], new_blobs[i] = nil, nil, nil
    new_keys[i], new_fronts[i], new_marks[i] = nil, nil, nil
  end
end

-- The answers to requests are kept in two hashes: when everything in the earlier one is forgotten, the other takes its
-- place. So the memory is bounded, is freed all at once, and is deleted with the topic. A hash expires a while after its last
-- answer is forgotten, so that on a busy topic it is unlinked first, which does not block Redis.
local SLACK_MS = 1000

local new_answers, answer_fields = {}, {}

local function remember_answer(request_id, answer)
  new_answers[request_id] = answer
  answer_fields[#answer_fields + 1] = request_id
  answer_fields[#answer_fields + 1] = answer
end

-- The answer to an earlier request of this id, and that request's identity; nil if it is not remembered.
local function known_answer(request_id)
  if request_id == '' then
    return nil
  end
  local raw = new_answers[request_id]
    or redis.call('HGET', requests_key, request_id)
    or redis.call('HGET', earlier_requests_key, request_id)
  local kept = unpack_fields(raw, 3)
  if not kept or type(kept[1]) ~= 'number' or type(kept[3]) ~= 'number' or kept[1] <= now then
    return nil
  end
  return { REPEATED, unpack(kept, 3) }, kept[2]
end

local function write_answers()
  if #answer_fields == 0 then
    return
  end
  if redis.call('PTTL', earlier_requests_key) <= SLACK_MS then
    redis.call('UNLINK', earlier_requests_key)
    if redis.call('EXISTS', requests_key) == 1 then
      redis.call('RENAME', requests_key, earlier_requests_key)
    end
  end
  write_all('HSET', requests_key, answer_fields)
  local needed_ms = math.ceil(window / 1000) + SLACK_MS
  if redis.call('PTTL', requests_key) < needed_ms then
    redis.call('PEXPIRE', requests_key, whole(needed_ms + SLACK_MS))
  end
end

-- How many events of each key earlier requests add that are due.
local due_before = {}

-- How many events of a key may be blocked in a group: its policy says so, or else a share of max_queued. NEVER for any.
local function max_blocked_in(group)
  local own = HAS_POLICIES and policies().key_policy(group) or { slots = 1, max_blocked = 0 }
  if is_ephemeral(group) or own.slots == 0 or (own.max_blocked == 0 and max_queued == 0) then
    return NEVER
  end
  return own.max_blocked > 0 and own.max_blocked or math.max(1, math.floor(max_queued / 10))
end

-- How many more events of a key may be READY.
local function room_of(group, key)
  if HAS_POLICIES then
    return (ordering().room_of(group, key))
  end
  return 1 - redis.call('HEXISTS', group_key(group, 'keys'), key)
end

-- The first key of which more events would be blocked in a group than may be, how many those are, and how many may be,
-- if the events after the first `kept` were stored. Returns nil if there is none; then it counts them for later
-- requests.
local function find_full_key(kept)
  local due = {}
  for i = kept + 1, #new_ids do
    local key = new_keys[i]
    if key then
      due[key] = (due[key] or due_before[key] or 0) + (new_dues[i] <= now and 1 or 0)
    end
  end
  for key, count in pairs(due) do
    for _, group in ipairs(receivers) do
      local max_blocked = max_blocked_in(group)
      local blocked = max_blocked < NEVER and ordering().count_due(group, key) + count - room_of(group, key) or 0
      if blocked > max_blocked then
        return key, blocked, max_blocked
      end
    end
  end
  for key, count in pairs(due) do
    due_before[key] = count
  end
end

local function carry_out()
  local request_id, identity, require_subscriber = take(), tonumber(take()), take()
  local generated_at, count = tonumber(take()), tonumber(take())
  local answer, identity_then = known_answer(request_id)
  if answer then
    at = at + 2 + 2 * count
    return identity_then == identity and answer or { REUSED }
  end
  if require_subscriber == '1' and not has_subscriber() then
    at = at + 2 + 2 * count
    return { NO_SUBSCRIBER }
  end
  local before = #new_ids
  local duplicates = read_events(count)
  if max_queued > 0 and #new_ids > before and queued + #new_ids > max_queued then
    take_back(before)
    return { FULL, queued + before, max_queued }
  end
  if has_keys and (max_queued > 0 or HAS_POLICIES) then
    local key, blocked, max_blocked = find_full_key(before)
    if key then
      take_back(before)
      return { KEY_FULL, key, blocked, max_blocked }
    end
  end
  if request_id ~= '' and window > 0 then
    remember_answer(request_id, cmsgpack.pack({ now + window, identity, generated_at, unpack(duplicates) }))
  end
  return { STORED, generated_at, unpack(duplicates) }
end

-- Writes the events themselves. Those that are due together keep the order in which they were dispatched. Completes the
-- blobs; returns {score, member, ...} of all events, and when the first is due.
local function write_events()
  local stored, scored = {}, {}
  local dispatched = struct.pack('>I8', now)
  local first_place = redis.call('HINCRBY', topic_key('meta'), 'places', #new_ids) - #new_ids
  local last_due, score, soonest = nil, nil, NEVER
  for i, id in ipairs(new_ids) do
    if new_dues[i] ~= last_due then
      last_due, score = new_dues[i], whole(new_dues[i])
      soonest = math.min(soonest, last_due)
    end
    local front = new_fronts[i]
    local marks = new_marks[i] or 0
    local place = struct.pack('>I4', (4 * (first_place + i - 1) + marks) % 4294967296)
    local blob = dispatched .. place .. new_blobs[i]
    new_blobs[i] = blob
    scored[2 * i - 1], scored[2 * i] = score, front and place .. front .. id or place .. id
    stored[2 * i - 1], stored[2 * i] = id, blob
  end
  write_all('HSET', events_key, stored)
  return scored, soonest
end

local function write_refs()
  local refs, held_by_all = {}, cmsgpack.pack({ #receivers, waiting_in })
  for i, id in ipairs(new_ids) do
    refs[2 * i - 1], refs[2 * i] = id, held_by_all
  end
  write_all('HSET', topic_key('refs'), refs)
end

-- Counts what is handed over for the rates of keys. Returns when an event is due that this brings in, or NEVER.
local function count_leased(group, scored, is_leased)
  local members = {}
  for i in pairs(is_leased) do
    members[#members + 1] = scored[2 * i]
  end
  return ordering().leased(group, members)
end

-- Adds the events to a group: what is handed over is LEASED, the others wait. Returns when the first of these is due,
-- or NEVER; BLOCKED ones don't count.
local function add_to_group(group, scored, soonest)
  local reservation = reservation_in[group]
  if not reservation and not has_keys and not has_priorities then
    write_all('ZADD', group_key(group, 'waiting'), scored)
    return soonest
  end
  local behind, new_heads, head_keys, is_leased = {}, {}, nil, {}
  if has_keys then
    behind, new_heads, head_keys = ordering().hold_back(group, new_keys, new_dues, scored)
  end
  if reservation then
    local order = has_priorities and by_priority(scored) or nil
    is_leased = hand_over(reservation, new_ids, scored, new_dues, new_blobs, behind, order)
  end
  local waiting, prioritized, first_due = {}, {}, NEVER
  for i = 1, reservation and reservation.count == #new_ids and 0 or #new_ids do
    if not is_leased[i] and behind[i] ~= 'blocked' then
      first_due = math.min(first_due, new_dues[i])
    end
    if not is_leased[i] and not behind[i] then
      local some = has_priorities and priority_of(scored[2 * i]) ~= 0 and prioritized or waiting
      some[#some + 1], some[#some + 2] = scored[2 * i - 1], scored[2 * i]
    end
  end
  write_all('ZADD', group_key(group, 'waiting'), waiting)
  if has_priorities then
    add_prioritized(group, prioritized)
  end
  if has_keys then
    ordering().take(group, new_heads, head_keys)
  end
  return has_keys and HAS_POLICIES and math.min(first_due, count_leased(group, scored, is_leased)) or first_due
end

-- Counts, and notifies the other replicas of what waits in a group. Returns when this one's sessions find something to
-- lease, if they have to be notified, or NEVER.
local function announce(group, first_due)
  local reservation = reservation_in[group]
  mark(group, 'dispatched', #new_ids)
  local at = first_due == NEVER and NEVER or wake_ready(group, first_due)
  if reservation then
    note_next_due(reservation, first_due)
  end
  return reservation and NEVER or at
end

-- Stores the events. Returns when the first of them is due, and the groups in which sessions of this replica are
-- notified.
local function store()
  for _, group in ipairs(has_keys and receivers or {}) do
    ordering().check_key_sets(group)
  end
  for _, group in ipairs(has_priorities and receivers or {}) do
    check_prioritized(group)
  end
  -- Changes nothing. If the user has no right to ZADD, it fails here, before the events are stored.
  redis.call('ZADD', group_key(receivers[1], 'waiting'), 'XX', 0, '')
  local scored, soonest = write_events()
  local first_dues, to_wake = {}, {}
  if #receivers > 1 then
    write_refs()
  end
  for i, group in ipairs(receivers) do
    first_dues[i] = add_to_group(group, scored, soonest)
  end
  for i, group in ipairs(receivers) do
    local at = announce(group, first_dues[i])
    if at ~= NEVER and group ~= '' then
      to_wake[#to_wake + 1], to_wake[#to_wake + 2] = group, whole(at)
    end
  end
  return soonest, to_wake
end

-- A topic with groups is certainly listed.
local was_empty = #groups == 0 and redis.call('EXISTS', events_key) == 0
local answers = {}
for i = 1, tonumber(take()) do
  answers[i] = carry_out()
end
local soonest, to_wake = NEVER, {}
if #new_ids > 0 then
  soonest, to_wake = store()
end
write_answers()
local is_unlisted = was_empty and soonest ~= NEVER
local handed_over = reserved > 0 and answers_of(reservations) or {}
return { whole(now), to_wake, answers, is_unlisted and 1 or 0, handed_over }
