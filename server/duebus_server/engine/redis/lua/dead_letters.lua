-- Shared by the scripts that redrive and purge: finds the dead letters of one step. Needs leases.lua, naming.lua and
-- ranks.lua.
--
-- ARGV of both, after 1..5 as in common.lua:
--   6      group
--   7      at most how many dead letters to examine
--   8      when the first step was made; '' in the first one
--   9      only those that had been dead for this long then, microseconds
--   10     only those whose last error contains this text
--   11, 12 begin after the dead letter of this score and member; '' for the first step
--   13     the server's max_retries, for leases that have run out
--   14     only those with this key; '' for any
--   15, 16 the script's own
--   17...  only these packed ids; if there are none, all, the longest dead first

-- How many records are read at a time, and after how many bytes a step ends early.
local READ_AT_ONCE, MAX_READ_BYTES = 100, 4000000

-- What one step has found; `chosen`: {id, member, score, record or nil}, `last`: {score, member} of the last one it has
-- examined, and `more`: whether there is something after it.
local function step_through(group, began)
  local dead_key = group_key(group, 'dead')
  local latest = began - tonumber(ARGV[9])
  local chosen, last, more, seen = {}, { '', '' }, 0, {}

  local function examine(id, member, score, record)
    local problem = record and record[LAST_ERROR] or ''
    local has_key = ARGV[14] == '' or key_of(member) == ARGV[14]
    if has_key and tonumber(score) <= latest and string.find(problem, ARGV[10], 1, true) then
      chosen[#chosen + 1] = { id, member, score, record }
    end
  end

  local function examine_named(id)
    local blob = redis.call('HGET', topic_key('events'), id) or ''
    local name, member, score, record = find_copy(group, id, #blob >= HEADER_SIZE and place_of(blob) or '')
    if name == 'dead' and not seen[id] then
      seen[id] = true
      examine(id, member, score, record)
    end
  end

  -- Returns how many of the members it has examined.
  local function examine_members(found)
    local bytes, examined = 0, 0
    for first = 1, #found, 2 * READ_AT_ONCE do
      local ids = {}
      for i = first, math.min(first + 2 * READ_AT_ONCE, #found) - 1, 2 do
        ids[#ids + 1] = id_of(found[i])
      end
      local raws = read_all('HMGET', group_key(group, 'records'), ids)
      for i, id in ipairs(ids) do
        local at = first + 2 * (i - 1)
        local raw = raws[i] or ''
        bytes = bytes + #raw
        if ARGV[10] == '' or string.find(raw, ARGV[10], 1, true) then -- not in the whole, so in none of its fields
          examine(id, found[at], found[at + 1], read_record(raw))
        end
        last = { found[at + 1], found[at] }
      end
      examined = examined + #ids
      if bytes > MAX_READ_BYTES then
        break
      end
    end
    return examined
  end

  if #ARGV >= 17 then
    for i = 17, #ARGV do
      examine_named(ARGV[i])
    end
  else
    local low = ARGV[11] == '' and 0 or rank_behind(dead_key, ARGV[11], ARGV[12])
    local high = redis.call('ZCOUNT', dead_key, '-inf', whole(latest))
    local behind = math.min(low + tonumber(ARGV[7]), high)
    if behind > low then
      more = low + examine_members(redis.call('ZRANGE', dead_key, low, behind - 1, 'WITHSCORES')) < high and 1 or 0
    end
  end
  return chosen, last, more
end

-- Removes dead letters of a group, as `step_through` finds them, and remembers the ids that clients chose. Returns when
-- an event is due that one of them held up, or NEVER.
local function remove_dead(group, letters, window)
  local ids, members, is_chosen = {}, {}, {}
  for i, letter in ipairs(letters) do
    local id, record = letter[1], letter[4]
    ids[i], members[i] = id, letter[2]
    is_chosen[id] = record and record[CHOSEN] == 1
  end
  local gone, chosen = {}, {}
  write_all('HDEL', group_key(group, 'records'), ids)
  write_all('ZREM', group_key(group, 'dead'), members)
  drop_copies(ids, false, gone)
  for _, id in ipairs(gone) do
    if is_chosen[id] then
      chosen[#chosen + 1] = id
    end
  end
  write_all('HDEL', topic_key('events'), gone)
  remember_ids(chosen, window)
  return HAS_POLICIES and free_keys(group, members) or NEVER
end
