-- Shared by the scripts that read records. Needs common.lua.

-- The record of an event that was never leased.
local function blank_record()
  return { 0, '', 0, 0, '', '', 0, 0, 0, '', 0, 0, 0, 0 }
end

-- Raises an error for bytes that are not a record, because its fields are used as numbers and texts without checks.
local function parse_record(raw)
  local record = cmsgpack.unpack(raw)
  local _ = record[ATTEMPT] + record[FENCE] + record[STARTED] + record[DELIVER_AT] + record[CHOSEN]
  _ = record[MAX_RETRIES] + record[IS_DEAD] + record[FREE] + record[STALLED]
  _ = record[SESSION] .. record[CONSUMER] .. record[PLACE] .. record[LAST_ERROR]
  return record
end

-- A record, or nil for bytes that are not one.
local function read_record(raw)
  local fine, record = pcall(parse_record, raw)
  return fine and record or nil
end

-- As FREE_EXPIRIES in domain/retry.py.
local FREE_EXPIRIES = 2

-- Whether so many leases of an event have run out that the next expiry uses up a retry. A session gets only one such
-- event at a time.
local function is_suspect(record)
  return record[FREE] >= FREE_EXPIRIES
end

-- Events on their way into the sets in which they wait.
local function new_queue()
  return { waiting = {}, suspects = {} }
end

local function enqueue(queue, record, due, member)
  local scored = queue[is_suspect(record) and 'suspects' or 'waiting']
  scored[#scored + 1] = whole(due)
  scored[#scored + 1] = member
end

local function write_queue(group, queue)
  write_all('ZADD', group_key(group, 'waiting'), queue.waiting)
  write_all('ZADD', group_key(group, 'suspects'), queue.suspects)
end
