-- Shared by the scripts that move events with keys: what they call. Needs ordering.lua, and slots.lua where the topic may
-- have key policies.

-- The functions for the topic: those of ordering.lua, or some of slots.lua in their place.
local made_ordering
local function ordering()
  if not made_ordering then
    made_ordering = make_ordering()
    made_ordering = HAS_POLICIES and make_slots(made_ordering) or made_ordering
  end
  return made_ordering
end

-- Moves events with keys that have become due, and opens keys whose time has come. Returns when the first of
-- those that are left in `upcoming` is due, which may have passed, or NEVER.
local function move_due(group)
  if HAS_POLICIES then
    ordering().open_due(group)
  end
  local first_due = first_score(group, 'upcoming')
  if first_due > now then
    return first_due
  end
  ordering().move_due(group)
  return first_score(group, 'upcoming')
end

-- As `free_keys` in ordering.lua, for events with and without keys.
local function free_keys(group, ended, are_dead)
  for _, member in ipairs(ended) do
    if key_of(member) then
      return ordering().free_keys(group, ended, are_dead)
    end
  end
  return NEVER
end

-- LEASED -> READY, SCHEDULED or BLOCKED: adds an event whose lease has ended to `queue`. Returns when it can be leased
-- again, or NEVER.
local function wait_again(group, queue, record, due, member)
  if HAS_POLICIES and key_of(member) then
    return ordering().put_back(group, queue, record, due, member)
  end
  record[DELIVER_AT] = due
  enqueue(queue, record, due, member)
  return due
end

-- Writes these events, once their records are written. Returns when one that was blocked is due, or NEVER.
local function write_again(group, queue)
  write_queue(group, queue)
  return #queue.gave_up > 0 and ordering().finish_put_back(group, queue) or NEVER
end
