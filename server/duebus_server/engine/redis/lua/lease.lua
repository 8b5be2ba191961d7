-- READY -> LEASED: hands due events to a session by rank, each under a new fencing token. An event's rank is its due time,
-- less the head start that its priority gives it.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session
--   8      consumer
--   9      how many events, at most
--   10     how many bytes of bodies, at most
--   11     whether the first is leased even if it is larger (0, 1)
--   12     lease, microseconds; '' for the topic's
--   13     the server's lease, if the topic has none of its own
--   14     the session's round, which grows when the session gives up waiting for an answer: a late command of an
--          earlier round does nothing
--   15     whether one of the events may be a suspect (0, 1)
--   16     whether the session is stalled (0, 1), see LeaseRequest
--   17     the server's max_retries, if the topic has none of its own
-- returns  {now, next due or -1, 1 if something is left for lack of room, 2 if the group is paused, otherwise 0,
--           first fencing token (they go up by the number of partitions), when the leases expire,
--           {session, tokens, ...} of leases that have ended,
--           {packed id, ...}, {blob, ...}, {deliver at, ...} (only one if it is the same for all),
--           {place among them all, from 0; attempt, last error, ...} of the events that were leased before,
--           the place of the one that is a suspect or -1,
--           when the first waiting suspect is due, if the session takes none or no other, or -1};
--           or {now, whether there is such a group (0, 1)} if the session has not joined, or has given up waiting
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes granting
-- includes ranking
-- includes damaged

local EXPIRE_LIMIT = 1000

regardless_of_memory()
local group, session, consumer = ARGV[6], ARGV[7], ARGV[8]
local max_events, bytes_left, at_least_one = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11] == '1'
local takes_suspect, stalled = ARGV[15] == '1', tonumber(ARGV[16])
local waiting_key, records_key = group_key(group, 'waiting'), group_key(group, 'records')
local suspects_key, own_key = group_key(group, 'suspects'), group_key(group, 'group')

local joined = redis.call('HGET', group_key(group, 'sessions'), session)
local info = unpack_fields(joined, ROUND)
if not info or info[ROUND] > tonumber(ARGV[14]) then
  return { whole(now), redis.call('HEXISTS', topic_key('groups'), group) }
end
local expires = now + (tonumber(ARGV[12]) or setting('lease', ARGV[13]))

local ended = {}
expire_leases(group, ARGV[17], EXPIRE_LIMIT, ended)
local report = announce_ended(group, ended)
local own = redis.call('HMGET', own_key, 'paused', 'wake_at', 'fence')
if own[1] then
  return { whole(now), -1, 2, 0, whole(expires), report, {}, {}, {}, {}, -1, -1 }
end

local limits = HAS_LIMITS and policies().read_limits(group)
local room = limits and policies().room_under(group, limits) or NEVER
max_events = math.min(max_events, room)

local upcoming_due = move_due(group)

-- One event more than fits is asked for, to know whether something is left.
local function first_ready()
  return redis.call('ZRANGEBYSCORE', waiting_key, '-inf', whole(now), 'LIMIT', 0, max_events + 1)
end

-- The scores of these members, in their order. Most are equal, as in one dispatch, and writing a score takes Redis
-- longer than anything else about a member, so the scores between two equal ones are not asked for.
local STRIDE = 32
local function scores_of(members)
  local corners, scores = {}, {}
  for i = 1, #members, STRIDE do
    corners[#corners + 1] = members[i]
  end
  corners[#corners + 1] = members[#members]
  local known = read_all('ZMSCORE', waiting_key, corners)
  for j = 1, #corners - 1 do
    local first, last = (j - 1) * STRIDE + 1, math.min(j * STRIDE, #members)
    local own = known[j] ~= known[j + 1] and redis.call('ZMSCORE', waiting_key, unpack(members, first, last))
    for i = first, last do
      scores[i] = own and own[i - first + 1] or known[j]
    end
  end
  return scores
end

-- The READY events that come first, by rank: members and due times; the set of each that is not in `waiting`, and its
-- rank if it has a priority.
local function find_ready()
  local members = first_ready()
  local scores = scores_of(members)
  -- In a topic without priorities, a damaged member of `leased` may look like one with a priority: the next lease finds it.
  if HAS_PRIORITIES and IS_WHOLE then
    return merge_ranked(group, members, scores, max_events + 1)
  end
  return members, scores, {}, {}
end
local members, scores, sets, ranks = find_ready()
if upcoming_due <= now and ordering().correct_heads(group, members) then
  members, scores, sets, ranks = find_ready()
end

-- Inserts a suspect among them, by its due time and its place. Returns its index.
local function insert_suspect(member, score)
  local due, place = tonumber(score), struct.unpack('>I4', member)
  local at = 1
  while members[at] do
    local other = ranks[at] or tonumber(scores[at])
    if other > due or (other == due and struct.unpack('>I4', members[at]) > place) then
      break
    end
    at = at + 1
  end
  local count = #members
  for values, value in pairs({ [members] = member, [scores] = score, [sets] = 'suspects', [ranks] = due }) do
    for i = count, at, -1 do
      values[i + 1] = values[i]
    end
    values[at] = value
  end
  return at
end
local first_suspect = redis.call('ZRANGE', suspects_key, 0, 0, 'WITHSCORES')
local suspect_at = 0 -- the index of the suspect that the session may take
if takes_suspect and first_suspect[2] and tonumber(first_suspect[2]) <= now then
  suspect_at = insert_suspect(unpack(first_suspect))
end

local ids = {}
for i = 1, #members do
  ids[i] = id_of(members[i])
end

-- Blobs are read a few at a time, because those that don't fit must not be read.
local CHUNK = 32
local blobs = {}
local function blob_of(i)
  if blobs[i] == nil then
    local part = redis.call('HMGET', topic_key('events'), unpack(ids, i, math.min(i + CHUNK - 1, #ids)))
    for j = 1, #part do
      blobs[i + j - 1] = part[j]
    end
  end
  return blobs[i] or ''
end

local raws = read_all('HMGET', records_key, ids)
-- As `check_keys`, for what is written below and was not read.
redis.call('HLEN', group_key(group, 'in_flight'))
if HAS_POLICIES then
  ordering().check_key_sets(group)
end

local strays, died = {}, {}

local function is_at_its_place(member, blob)
  local a, b, c, d = string.byte(member, 1, 4)
  local e, f, g, h = string.byte(blob, 9, 12)
  return a == e and b == f and c == g and d == h
end

-- One more attempt at an event that was leased before.
local function begin_again(record, score, member)
  record[ATTEMPT] = record[ATTEMPT] + 1
  record[SESSION], record[CONSUMER], record[STARTED] = session, consumer, now
  record[DELIVER_AT], record[PLACE], record[STALLED] = tonumber(score), place_in(member), stalled
  return record
end

-- What is taken, one entry per event; `again` has the records of those that were leased before.
local taken, taken_ids, taken_blobs, dues, leased, again, prioritized = {}, {}, {}, {}, {}, {}, {}
local expiry = whole(expires)
local count, left, made_dead = 0, 0, 0
local suspect_place = -1 -- of the suspect among what is taken, from 0
for i = 1, #members do
  local id, member, blob = ids[i], members[i], blob_of(i)
  if #blob < HEADER_SIZE or not is_at_its_place(member, blob) then
    local gone = make_dead(group, member, blob, sets[i] or 'waiting') and died or strays
    gone[#gone + 1] = member
    made_dead = made_dead + 1
  else
    bytes_left = bytes_left - body_size(blob)
    if count == max_events or (bytes_left < 0 and (count > 0 or not at_least_one)) then
      left = count == room and 0 or 1 -- not for lack of room, if the limits let no more be leased
      break
    end
    count = count + 1
    if i == suspect_at then
      suspect_place = count - 1
    elseif sets[i] then
      prioritized[#prioritized + 1] = member
    end
    taken[count], taken_ids[count], taken_blobs[count], dues[count] = member, id, blob, scores[i]
    leased[2 * count - 1], leased[2 * count] = expiry, member
    local record = raws[i] and read_record(raws[i])
    again[count] = record and begin_again(record, scores[i], member)
  end
end

local first_fence, attempts = 0, {}
if count > 0 then
  first_fence = first_token(own[3])
  redis.call('HSET', own_key, 'fence', whole(first_fence + (count - 1) * PARTS))
  local first_record = new_record_packer(session, consumer, stalled)
  local packed = {}
  for i = 1, count do
    local record, fence = again[i], first_fence + (i - 1) * PARTS
    if record then
      record[FENCE] = fence
      for _, value in ipairs({ i - 1, record[ATTEMPT], record[LAST_ERROR] }) do
        attempts[#attempts + 1] = value
      end
    end
    packed[2 * i - 1] = taken_ids[i]
    packed[2 * i] = record and cmsgpack.pack(record) or first_record(fence, taken[i], dues[i], taken_blobs[i])
  end
  write_all('HSET', records_key, packed)
  write_all('ZADD', group_key(group, 'leased'), leased)
  add_in_flight(group, session, count)
  local others = count - #prioritized
  if suspect_place >= 0 then
    redis.call('ZREM', suspects_key, taken[suspect_place + 1])
    others = others - 1
  end
  if #prioritized > 0 then
    remove_waiting(group, 'prioritized', prioritized)
  end
  if others > 0 then
    redis.call('ZREMRANGEBYRANK', waiting_key, 0, others - 1) -- those before them are dead now
  end
  mark(group, 'delivered', count)
  dues = #prioritized == 0 and dues[1] == dues[count] and { dues[1] } or dues -- the others are in order
end
free_keys(group, strays)
free_keys(group, died, true)
if HAS_POLICIES then
  ordering().leased(group, taken)
end

if limits then
  policies().count_begun(group, limits, count)
end
local due_next, suspect_due = math.min(first_waiting(group), upcoming_due), tonumber(first_suspect[2] or NEVER)
if suspect_at > 0 then
  suspect_due = first_score(group, 'suspects')
end
if takes_suspect and suspect_place < 0 then
  due_next, suspect_due = math.min(due_next, suspect_due), NEVER
end
due_next = math.min(limits and policies().due_under(group, limits, due_next) or due_next, first_score(group, 'leased'))
-- The sessions of this replica now know `next_check`; others may be waiting for longer, see `wake`. Nobody waits for a
-- suspect that is left: the sessions that can take it are notified now.
local next_check = suspect_due > now and math.min(due_next, suspect_due) or due_next
if next_check > tonumber(own[2] or 0) then
  redis.call('HSET', own_key, 'wake_at', whole(next_check))
end
report_changed(group, report)
local answered_due = made_dead > 0 and whole(now) or answer_time(due_next)
return {
  whole(now), answered_due, left, first_fence, expiry, report, taken_ids, taken_blobs, dues, attempts,
  suspect_place, answer_time(suspect_due),
}
