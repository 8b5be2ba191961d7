-- Hand-over: a dispatch leases what is due to sessions that have reserved room for it. Needs common.lua and
-- granting.lua.

-- A session's reservation in a group, as `take` reads it from the arguments.
local function read_reservation(take)
  local reservation = { group = take(), session = take(), consumer = take(), count = 0 }
  reservation.events, reservation.bytes, reservation.at_least_one = tonumber(take()), tonumber(take()), take() == '1'
  local lease, default = take(), take()
  reservation.expires = now + (tonumber(lease) or setting('lease', default))
  reservation.round, reservation.takes_suspect, reservation.stalled = tonumber(take()), take() == '1', tonumber(take())
  return reservation
end

-- Reads the state of the reservation's group before anything is stored. Returns whether the session has joined the
-- group and has not abandoned this command.
local function read_group_of(reservation)
  local group = reservation.group
  local info = unpack_fields(redis.call('HGET', group_key(group, 'sessions'), reservation.session), ROUND)
  if not info or info[ROUND] > reservation.round then
    return false
  end
  redis.call('HLEN', group_key(group, 'records'))
  redis.call('HLEN', group_key(group, 'in_flight'))
  local own = redis.call('HMGET', group_key(group, 'group'), 'paused', 'fence')
  reservation.is_paused, reservation.first_fence = own[1] ~= false, first_token(own[2])
  reservation.next_due, reservation.next_expiry = math.min(
    first_score(group, 'waiting'), first_score(group, 'upcoming')
  ), first_score(group, 'leased')
  if HAS_PRIORITIES then
    reservation.next_due = math.min(reservation.next_due, first_score(group, 'prioritized'))
  end
  if HAS_POLICIES then
    reservation.next_due = math.min(reservation.next_due, first_score(group, 'opens'))
  end
  reservation.suspect_due = first_score(group, 'suspects')
  if reservation.takes_suspect then
    reservation.next_due, reservation.suspect_due = math.min(reservation.next_due, reservation.suspect_due), NEVER
  end
  if HAS_LIMITS then
    reservation.limits = policies().read_limits(group)
    reservation.events = math.min(reservation.events, policies().room_under(group, reservation.limits))
  end
  local due = math.min(reservation.next_due, reservation.next_expiry)
  reservation.is_open = not reservation.is_paused and due > now
  return true
end

-- Returns the `count` reservations: all of them, and by group those that can be used. `groups` are those of the topic.
local function read_reservations(count, take, groups)
  local reservations, reservation_in, exists = {}, {}, {}
  for _, group in ipairs(groups) do
    exists[group] = true
  end
  for i = 1, count do
    local reservation = read_reservation(take)
    reservations[i] = reservation
    if exists[reservation.group] and read_group_of(reservation) then
      reservation_in[reservation.group] = reservation
    end
  end
  return reservations, reservation_in
end

-- Whether the next new event is handed over; no other place decides this. Events are leased by rank, so none is handed
-- over while the group is paused or has an older event that is due, and none after one that does not fit.
local function may_hand_over(reservation, due, blob)
  if not reservation.is_open or due > now then
    return false
  end
  local bytes_left = reservation.bytes - body_size(blob)
  local fits = bytes_left >= 0 or (reservation.count == 0 and reservation.at_least_one)
  reservation.is_open = reservation.count < reservation.events and fits
  if reservation.is_open then
    reservation.count, reservation.bytes = reservation.count + 1, bytes_left
  end
  return reservation.is_open
end

-- The order in which new events are handed over, as indexes: by priority, then as dispatched.
local function by_priority(scored)
  local order, priorities = {}, {}
  for i = 1, #scored / 2 do
    order[i], priorities[i] = i, priority_of(scored[2 * i])
  end
  table.sort(order, function(one, other)
    if priorities[one] == priorities[other] then
      return one < other
    end
    return priorities[one] > priorities[other]
  end)
  return order
end

-- The places of some events, given as indexes, among those that are due, from 0.
local function places_of(indexes, dues)
  local place_at, place = {}, 0
  for i = 1, #dues do
    place_at[i] = place
    place = place + (dues[i] <= now and 1 or 0)
  end
  local places = {}
  for j, i in ipairs(indexes) do
    places[j] = place_at[i]
  end
  return places
end

-- Leases those of the new events that are handed over. Takes arrays of their ids, due times and blobs; `scored` is
-- {score, member, ...}, `behind` as in ordering.lua, `order` as above or nil. Returns which ones: index -> true.
local function hand_over(reservation, ids, scored, dues, blobs, behind, order)
  local group, expiry = reservation.group, whole(reservation.expires)
  local first_record = new_record_packer(reservation.session, reservation.consumer, reservation.stalled)
  local records, leased, is_leased, indexes, last_fence = {}, {}, {}, {}, nil
  for j = 1, #ids do
    local i = order and order[j] or j
    if not behind[i] and may_hand_over(reservation, dues[i], blobs[i]) then
      local last, member = 2 * reservation.count, scored[2 * i]
      last_fence = reservation.first_fence + (reservation.count - 1) * PARTS
      records[last - 1], records[last] = ids[i], first_record(last_fence, member, dues[i], blobs[i])
      leased[last - 1], leased[last], is_leased[i] = expiry, member, true
      indexes[reservation.count] = i
    end
  end
  if order or next(behind) then
    reservation.places = places_of(indexes, dues)
  end
  if reservation.count > 0 then
    redis.call('HSET', group_key(group, 'group'), 'fence', whole(last_fence))
    write_all('HSET', group_key(group, 'records'), records)
    write_all('ZADD', group_key(group, 'leased'), leased)
    add_in_flight(group, reservation.session, reservation.count)
    mark(group, 'delivered', reservation.count)
    reservation.next_expiry = math.min(reservation.next_expiry, reservation.expires)
    if reservation.limits then
      policies().count_begun(group, reservation.limits, reservation.count)
    end
  end
  return is_leased
end

-- Records the first due time among the new events that were not handed over.
local function note_next_due(reservation, first_due)
  reservation.next_due = math.min(reservation.next_due, first_due)
end

-- When the reservation's session may find something to lease, or NEVER.
local function next_due_of(reservation)
  if reservation.is_paused then
    return NEVER
  end
  local due, limits = reservation.next_due, reservation.limits
  return math.min(limits and policies().due_under(reservation.group, limits, due) or due, reservation.next_expiry)
end

-- What `dispatch.lua` returns of these reservations.
local function answers_of(reservations)
  local answers = {}
  for i, reservation in ipairs(reservations) do
    answers[i] = reservation.next_due and {
      reservation.count,
      reservation.first_fence,
      whole(reservation.expires),
      answer_time(next_due_of(reservation)),
      reservation.is_paused and 1 or 0,
      answer_time(reservation.suspect_due),
      reservation.places or {},
    } or {}
  end
  return answers
end
