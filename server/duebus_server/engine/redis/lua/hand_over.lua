-- Hand-over: a dispatch leases what is due to sessions that have reserved room for it. Needs common.lua and granting.lua.

-- A session's room in a group, as `take` reads it from the arguments.
local function read_room(take)
  local room = { group = take(), session = take(), consumer = take(), count = 0 }
  room.events, room.bytes, room.at_least_one = tonumber(take()), tonumber(take()), take() == '1'
  local lease, default = take(), take()
  room.expires = now + (tonumber(lease) or setting('lease', default))
  room.round, room.takes_suspect, room.stalled = tonumber(take()), take() == '1', tonumber(take())
  return room
end

-- Reads the state of the room's group before anything is stored. Returns whether the session has joined the group and has
-- not abandoned this command.
local function read_group_of(room)
  local group = room.group
  local info = unpack_fields(redis.call('HGET', group_key(group, 'sessions'), room.session), ROUND)
  if not info or info[ROUND] > room.round then
    return false
  end
  local own = redis.call('HMGET', group_key(group, 'group'), 'paused', 'fence')
  room.is_paused, room.first_fence = own[1] ~= false, first_token(own[2])
  room.next_due = math.min(first_score(group, 'waiting'), first_score(group, 'leased'))
  room.suspect_due = first_score(group, 'suspects')
  if room.takes_suspect then
    room.next_due, room.suspect_due = math.min(room.next_due, room.suspect_due), NEVER
  end
  room.is_open = not room.is_paused and room.next_due > now
  return true
end

-- Returns the `count` rooms that sessions have reserved in these groups: all of them, and by group those that can be
-- used.
local function read_rooms(count, take, groups)
  local rooms, room_in = {}, {}
  for i = 1, count do
    rooms[i] = read_room(take)
    for _, group in ipairs(groups) do
      if group == rooms[i].group and read_group_of(rooms[i]) then
        room_in[group] = rooms[i]
      end
    end
  end
  return rooms, room_in
end

-- Whether the next new event is handed over; no other place decides this. Events are leased in order, so none is handed
-- over while the group is paused or has an older event that is due, and none after one that does not fit.
local function may_hand_over(room, due, blob)
  if not room.is_open or due > now then
    return false
  end
  local bytes_left = room.bytes - body_size(blob)
  room.is_open = room.count < room.events and (bytes_left >= 0 or (room.count == 0 and room.at_least_one))
  if room.is_open then
    room.count, room.bytes = room.count + 1, bytes_left
  end
  return room.is_open
end

-- Leases those of the new events that are handed over. Takes arrays of their ids, due times and blobs; `scored` is
-- {score, member, ...}. Returns which ones: index -> true.
local function hand_over(room, ids, scored, dues, blobs)
  local group, expiry = room.group, whole(room.expires)
  local first_record = new_record_packer(room.session, room.consumer, room.stalled)
  local records, leased, is_leased = {}, {}, {}
  for i = 1, #ids do
    if may_hand_over(room, dues[i], blobs[i]) then
      local last, fence, member = 2 * room.count, room.first_fence + (room.count - 1) * PARTS, scored[2 * i]
      records[last - 1], records[last] = ids[i], first_record(fence, member, dues[i], blobs[i])
      leased[last - 1], leased[last], is_leased[i] = expiry, member, true
    end
  end
  if room.count > 0 then
    redis.call('HSET', group_key(group, 'group'), 'fence', whole(room.first_fence + (room.count - 1) * PARTS))
    write_all('HSET', group_key(group, 'records'), records)
    write_all('ZADD', group_key(group, 'leased'), leased)
    add_in_flight(group, room.session, room.count)
    mark(group, 'delivered', room.count)
    room.next_due = math.min(room.next_due, room.expires)
  end
  return is_leased
end

-- Takes note of the first due time among the new events that were not handed over.
local function note_next_due(room, first_due)
  room.next_due = math.min(room.next_due, first_due)
end

-- What `dispatch.lua` returns of these rooms.
local function answers_of(rooms)
  local told = {}
  for i, room in ipairs(rooms) do
    told[i] = room.next_due and {
      room.count,
      room.first_fence,
      whole(room.expires),
      answer_time(room.is_paused and NEVER or room.next_due),
      room.is_paused and 1 or 0,
      answer_time(room.suspect_due),
    } or {}
  end
  return told
end
