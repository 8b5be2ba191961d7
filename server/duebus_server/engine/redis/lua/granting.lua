-- Shared by the scripts that lease events. Needs common.lua.

-- The first fencing token of this step: greater than the group's last one, and at least the time in microseconds. So
-- tokens keep growing after a restart, a failover or a deletion that has lost the last one. The others follow in steps
-- of the number of partitions: a token modulo that number is its partition, and no two partitions issue the same one.
local function first_token(last)
  local first = math.max((tonumber(last or 0) or 0) + 1, now)
  return first + (PART - first) % PARTS
end

-- Redis keeps a hash of up to 512 short values as a list, and scans half of it on average to find a field. Values of this size
-- make it a table.
local LONG_VALUE = 65

-- Returns a function that packs the record of an event that is leased for the first time, by its fencing token, member,
-- due time and blob. Such records of one session differ only in these, so what lies between the token, the place and
-- the due time is packed once for all events with the same flags and no max_retries of their own. The result is the
-- same bytes that `cmsgpack.pack` makes of the whole record; a text of zeros follows that makes the value long enough,
-- and that `cmsgpack.unpack` returns as a second value.
local function new_record_packer(session, consumer, stalled)
  local middles, due_known, due_packed = {}, nil, nil
  return function(fence, member, due, blob)
    local flags = string.byte(blob, 13)
    local middle = middles[flags]
    if not middle then
      local chosen = has_flag(blob, CHOSEN_ID) and 1 or 0
      middle = cmsgpack.pack(chosen, 0, session, consumer, now, 1, max_retries_of(blob), '', 0)
      middles[flags] = not has_flag(blob, OWN_MAX_RETRIES) and middle or nil
    end
    if due ~= due_known then
      local packed = cmsgpack.pack(tonumber(due), 0, stalled)
      local missing = LONG_VALUE - 15 - #middle - #packed
      due_known, due_packed = due, missing > 0 and packed .. cmsgpack.pack(string.rep('\0', missing - 1)) or packed
    end
    if flags >= PRIORITIZED or flags % (2 * KEYED) >= KEYED then
      return struct.pack('>c2I8', '\158\207', fence) .. cmsgpack.pack(place_in(member)) .. middle .. due_packed
    end
    return struct.pack('>c2I8c1c4c0c0', '\158\207', fence, '\164', member, middle, due_packed)
  end
end
