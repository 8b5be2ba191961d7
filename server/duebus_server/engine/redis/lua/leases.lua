-- Shared by the scripts that end leases. Needs common.lua, records.lua and ordering.lua.

-- A fencing token in arguments and answers: 8 bytes.
local function packed_fence(fence)
  return struct.pack('>I8', fence)
end

-- The place, CHOSEN and session of a record that holds this lease; otherwise three nils, and whether the record is
-- dead. Scripts write the front of a record as an array of 14, a number of 8 bytes, a text of 4 (longer if the event
-- has a key), two numbers below 128, and a text shorter than 32. That can be read without the rest, at a tenth of the
-- cost. Anything else is read as a whole.
local function read_lease(raw, fence)
  if #raw > 18 then
    local front, found, mark, place, chosen, is_dead, size = struct.unpack('>c2c8c1c4BBB', raw)
    if front == '\158\207' and found == fence and mark == '\164' and is_dead == 0 and size >= 160 and size < 192 then
      return place, chosen, string.sub(raw, 19, size - 142)
    end
    local length = string.byte(mark) - 160
    if front == '\158\207' and found == fence and length > 4 and length < 32 and #raw > 14 + length then
      chosen, is_dead, size = string.byte(raw, 12 + length, 14 + length)
      if is_dead == 0 and size >= 160 and size < 192 then
        return string.sub(raw, 12, 11 + length), chosen, string.sub(raw, 15 + length, size + length - 146)
      end
    end
  end
  local record = read_record(raw)
  if not record or record[IS_DEAD] == 1 or record[FENCE] == 0 or packed_fence(record[FENCE]) ~= fence then
    return nil, nil, nil, record and record[IS_DEAD] == 1
  end
  return record[PLACE], record[CHOSEN], record[SESSION]
end

-- A field of an attempt in a record's history, after its number, start, end, consumer, outcome and error: when the
-- event, which was dead after this attempt, was redriven.
local REDRIVEN = 7

-- Adds the attempt that ends now to a record's history.
local function remember(record, outcome, problem)
  local history = record[HISTORY]
  if type(history) ~= 'table' then
    history = {}
    record[HISTORY] = history
  end
  history[#history + 1] = { record[ATTEMPT], record[STARTED], now, record[CONSUMER], outcome, problem }
  while #history > MAX_HISTORY do
    table.remove(history, 1)
  end
end

-- Notes that a lease has ended: `ended` maps a session to its fencing tokens.
local function note_end(ended, session, fence)
  local fences = ended[session]
  if not fences then
    fences = {}
    ended[session] = fences
  end
  fences[#fences + 1] = fence
end

-- Precedes the session in reports of leases that have run out.
local RAN_OUT = '-'

local function end_lease(ended, record, how)
  note_end(ended, (how or '') .. record[SESSION], packed_fence(record[FENCE]))
  record[FENCE] = 0
end

-- Events of the current group that have become dead letters, and suspects, until they are reported to the caller.
local changed_events = { dead = {}, suspect = {} }
local IDS_NAMED = 10

local function note_changed(what, ids)
  local noted = changed_events[what]
  for i = 1, #ids do
    noted[#noted + 1] = ids[i]
  end
end

-- Adds to the report to the caller, in place of a session and its tokens: '', {'dead' or 'suspect', topic, group, how
-- many events, the first of them}. Other replicas are not notified.
local function report_changed(group, report)
  for what, ids in pairs(changed_events) do
    if #ids > 0 then
      report[#report + 1] = ''
      report[#report + 1] = { what, TOPIC, group, #ids, unpack(ids, 1, math.min(#ids, IDS_NAMED)) }
      changed_events[what] = {}
    end
  end
end

-- Notifies other replicas which leases of their sessions have ended. Returns those of the caller's sessions: {session,
-- tokens, ...}, and which events have become dead letters or suspects. Empty tokens: leases of the session were
-- extended.
local function announce_ended(group, ended)
  local report = {}
  for name, fences in pairs(ended) do
    local how, replica = string.match(name, '^(%-?)([^/]*)')
    local session = how == '' and name or string.sub(name, 2)
    add_in_flight(group, session, -#fences)
    local tokens = table.concat(fences)
    if replica == REPLICA then
      report[#report + 1] = name
      report[#report + 1] = tokens
    else
      redis.call('PUBLISH', replica_channel(replica), name .. '\0' .. tokens)
    end
  end
  report_changed(group, report)
  return report
end

-- `refs` has an entry only for events that were stored in several groups: how many hold it, and in how many lasting
-- ones it is not dead. An event that waits in no lasting group does not count as queued: `meta` has the number of
-- those. It can go below 0 only if Redis has lost `meta`.
local function count_dead(more)
  if more ~= 0 and redis.call('HINCRBY', topic_key('meta'), 'dead', more) < 0 then
    redis.call('HDEL', topic_key('meta'), 'dead')
  end
end

local function is_stored(id)
  return redis.call('HEXISTS', topic_key('events'), id) == 1
end

-- Notes that these events are dead in this group too (`change` is -1), or wait again (1).
local function change_waiting(group, ids, change)
  if #ids == 0 or is_ephemeral(group) then
    return
  end
  local raws = read_all('HMGET', topic_key('refs'), ids)
  local kept, dead = {}, 0
  for i, id in ipairs(ids) do
    local refs = unpack_fields(raws[i], 2) or { 1, change < 0 and 1 or 0 }
    local before = refs[2]
    refs[2] = before + change
    if raws[i] then
      kept[#kept + 1] = id
      kept[#kept + 1] = cmsgpack.pack(refs)
    end
    if (before == 0 or refs[2] == 0) and is_stored(id) then
      dead = dead - change
    end
  end
  write_all('HSET', topic_key('refs'), kept)
  count_dead(dead)
end

-- Records that one more group no longer holds these events; `waited`: it is a lasting group, and they were not dead in
-- it. `gone` collects those that no group holds any longer.
local function drop_copies(ids, waited, gone)
  local less = waited and 1 or 0
  local raws = read_all('HMGET', topic_key('refs'), ids)
  local kept, dropped, dead = {}, {}, 0
  for i, id in ipairs(ids) do
    local refs = unpack_fields(raws[i], 2) or { 1, less }
    local waiting_in = refs[2]
    refs[1] = refs[1] - 1
    refs[2] = waiting_in - less
    if refs[1] > 0 then
      kept[#kept + 1] = id
      kept[#kept + 1] = cmsgpack.pack(refs)
      dead = dead + (waiting_in > 0 and refs[2] == 0 and 1 or 0)
    else
      gone[#gone + 1] = id
      dropped[#dropped + 1] = id
      if waiting_in == 0 and is_stored(id) then
        dead = dead - 1
      end
    end
  end
  write_all('HSET', topic_key('refs'), kept)
  write_all('HDEL', topic_key('refs'), dropped)
  count_dead(dead)
end

-- Remembers ids that clients chose for the dedupe window, unless the memory is full.
local function remember_ids(ids, window)
  if #ids == 0 or window <= 0 then
    return
  end
  local recent = topic_key('recent')
  local scored = {}
  for i = 1, #ids do
    scored[#scored + 1] = whole(now + window)
    scored[#scored + 1] = ids[i]
  end
  for first = 1, #scored, STEP do
    redis.pcall('ZADD', recent, unpack(scored, first, math.min(first + STEP - 1, #scored)))
  end
  redis.pcall('ZREMRANGEBYSCORE', recent, '-inf', whole(now))
  redis.pcall('PEXPIRE', recent, math.ceil(window / 1000))
end

local function allowed_retries(record, policy_max)
  local own = record[MAX_RETRIES]
  if own >= 0 then
    return own
  end
  return policy_max
end

-- How many attempts at an event use up a retry, including the one under way.
local function failures(record)
  return record[ATTEMPT] - record[FREE]
end

-- An attempt ends because its lease has run out. Returns whether no retries are left, and whether the event has become
-- a suspect.
local function run_out(record, policy_max)
  record[LAST_ERROR] = EXPIRY_ERROR
  local was_suspect = is_suspect(record)
  if record[STALLED] == 1 or not was_suspect then
    record[FREE] = record[FREE] + 1
  elseif failures(record) > allowed_retries(record, policy_max) then
    record[IS_DEAD] = 1
  end
  local is_dead = record[IS_DEAD] == 1
  remember(record, is_dead and DEAD or LEASE_EXPIRED, EXPIRY_ERROR)
  return is_dead, is_suspect(record) and not was_suspect
end

-- The members of {score, member, ...}.
local function members_of(scored)
  local members = {}
  for i = 2, #scored, 2 do
    members[i / 2] = scored[i]
  end
  return members
end

-- LEASED -> READY, or DEAD when no retries are left, for up to `limit` leases of a group that have run out.
-- `max_retries` is the server's default.
local function expire_leases(group, max_retries, limit, ended)
  local leased = group_key(group, 'leased')
  local members = redis.call('ZRANGEBYSCORE', leased, '-inf', whole(now), 'LIMIT', 0, limit)
  if #members == 0 then
    return
  end
  check_keys(group)
  local ids, back, dead, died, suspected, changed, lost = {}, new_queue(), {}, {}, {}, {}, {}
  for i = 1, #members do
    ids[i] = id_of(members[i])
  end
  local policy_max = group_setting(group, 'max_retries', max_retries)
  local raws = read_all('HMGET', group_key(group, 'records'), ids)
  for i = 1, #members do
    local record = read_record(raws[i]) or blank_record()
    if record[PLACE] == '' then -- its history is lost; the event counts as never leased
      lost[#lost + 1] = ids[i]
      wait_again(group, back, record, now, members[i])
    else
      local is_dead, is_new_suspect = record[IS_DEAD] == 1, false
      if record[FENCE] ~= 0 then -- otherwise an earlier step has counted it, and then lacked a right
        is_dead, is_new_suspect = run_out(record, policy_max)
      end
      if is_dead then
        dead[#dead + 1] = whole(now)
        dead[#dead + 1] = members[i]
        died[#died + 1] = ids[i]
      else
        wait_again(group, back, record, record[DELIVER_AT], members[i])
      end
      if is_new_suspect then
        suspected[#suspected + 1] = ids[i]
      end
      end_lease(ended, record, RAN_OUT)
      changed[#changed + 1] = ids[i]
      changed[#changed + 1] = cmsgpack.pack(record)
    end
  end
  write_all('HSET', group_key(group, 'records'), changed)
  write_all('HDEL', group_key(group, 'records'), lost)
  write_again(group, back)
  write_all('ZADD', group_key(group, 'dead'), dead)
  change_waiting(group, died, -1)
  note_changed('dead', died)
  note_changed('suspect', suspected)
  write_all('ZREM', leased, members)
  free_keys(group, members_of(dead), true)
end

-- When the first event in `waiting` or `prioritized` is due, or the first key opens; or NEVER.
local function first_waiting(group)
  local due = first_score(group, 'waiting')
  due = HAS_PRIORITIES and math.min(due, first_score(group, 'prioritized')) or due
  return HAS_POLICIES and math.min(due, first_score(group, 'opens')) or due
end

-- When the group next has something to lease; NEVER while it is paused.
local function next_due(group)
  if redis.call('HEXISTS', group_key(group, 'group'), 'paused') == 1 then
    return NEVER
  end
  local waiting = math.min(first_waiting(group), first_score(group, 'suspects'), first_score(group, 'upcoming'))
  return math.min(ready_at(group, waiting), first_score(group, 'leased'))
end

-- Whether the group holds an event that it has not leased yet.
local function never_leased(group, id)
  local blob = redis.call('HGET', topic_key('events'), id)
  local member = blob and #blob >= HEADER_SIZE and place_of(blob) .. id
  if not member then
    return false
  end
  local waiting = waiting_set_of(member)
  for _, name in ipairs(key_of(member) and { waiting, 'upcoming', 'blocked' } or { waiting }) do
    if redis.call('ZSCORE', group_key(group, name), member) then
      return true
    end
  end
  return false
end

-- Whether no lease of the group has run out, so that they need not be checked one by one.
local function none_has_expired(group)
  local first = redis.call('ZRANGE', group_key(group, 'leased'), 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) > now
end

-- Marks leases that have run out as not held, among those numbered in `asked`, whose records have the named lease.
local function drop_expired(group, asked, members, records, results)
  if none_has_expired(group) then
    return
  end
  local of = {}
  for j = 1, #asked do
    of[j] = members[asked[j]]
  end
  local expiries = read_all('ZMSCORE', group_key(group, 'leased'), of)
  for j = 1, #asked do
    if not expiries[j] or tonumber(expiries[j]) <= now then
      results[asked[j]], records[asked[j]] = EXPIRED, false
    end
  end
end

-- Reads the leases that a caller names: ARGV[first] has their fencing tokens, 8 bytes each; then come their packed ids,
-- one in every `stride` arguments. Returns arrays: ids, tokens, and records as they are stored.
local function read_named(group, first, stride)
  local tokens = ARGV[first]
  local ids, fences = {}, {}
  for i = 1, #tokens / 8 do
    ids[i] = ARGV[first + 1 + (i - 1) * stride]
    fences[i] = string.sub(tokens, 8 * i - 7, 8 * i)
  end
  return ids, fences, read_all('HMGET', group_key(group, 'records'), ids)
end

-- Finds which of the leases that `read_named` reads are held now.
-- Returns arrays, one entry per lease: ids, records (false unless held), members, results (DONE where held). A lease
-- that is named twice has one record, so the second entry sees what the first has done to it.
local function find_held(group, first, stride)
  local members, results, records, seen = {}, {}, {}, {}
  check_keys(group)
  local ids, fences, raws = read_named(group, first, stride or 1)
  local asked = {}
  for i = 1, #ids do
    local id = ids[i]
    if not raws[i] then
      records[i], results[i] = false, never_leased(group, id) and EXPIRED or SETTLED
    else
      local record = seen[id] or read_record(raws[i]) or blank_record()
      seen[id] = record
      members[i] = record[PLACE] .. id
      if record[IS_DEAD] == 1 then
        records[i], results[i] = false, SETTLED
      elseif record[FENCE] == 0 or packed_fence(record[FENCE]) ~= fences[i] then
        records[i], results[i] = false, EXPIRED
      else
        records[i], results[i] = record, DONE
        asked[#asked + 1] = i
      end
    end
  end
  drop_expired(group, asked, members, records, results)
  return ids, records, members, results
end
