-- Returns some of the keys of a group that have an event which is READY, LEASED, BLOCKED or waiting for its next attempt,
-- or that are held.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      where they are looked up: 'keys', 'slots' or 'opens', one part after the other; or 'blocked' for those of some
--          blocked events, chosen at random
--   8      the cursor that the previous step returned; 0 in the first step
--   9      the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, the next cursor (0 at the
--          end), {key, how many of its events are blocked, how many are leased, packed id of its head or '', whether it is
--          held (0, 1), when it opens or -1, ...}}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming

local COUNT = 1000

-- The key of a member of one of these sets, or of a field of `keys`.
local READ = {
  keys = function(field) return field end,
  opens = function(key) return key end,
  slots = function(entry) return string.match(entry, '^[^%z]*') end,
  blocked = key_of,
}

-- Some keys, which may be repeated, and the next cursor.
local function find(group, name, cursor)
  local found
  if name == 'blocked' then
    found = { '0', redis.call('ZRANDMEMBER', group_key(group, name), -COUNT, 'WITHSCORES') }
  else
    found = redis.call(name == 'keys' and 'HSCAN' or 'ZSCAN', group_key(group, name), cursor, 'COUNT', COUNT)
  end
  local keys, is_known = {}, { [KEYS_MARK] = true }
  for i = 1, #found[2], 2 do
    local key = READ[name](found[2][i])
    if not is_known[key] then
      is_known[key] = true
      keys[#keys + 1] = key
    end
  end
  return keys, found[1]
end

local function count_leased(group, members)
  local count = 0
  for _, expiry in ipairs(read_all('ZMSCORE', group_key(group, 'leased'), members)) do
    count = count + (expiry and 1 or 0)
  end
  return count
end

local function info(group, key)
  local head = not HAS_POLICIES and redis.call('HGET', group_key(group, 'keys'), key)
  local members, opens_at, is_held, blocked = {}, 0, false, ordering().count_due(group, key)
  if HAS_POLICIES then
    head = ordering().head_of(group, key)
    members, opens_at = ordering().holders_of(group, key), ordering().opening_of(group, key)
    is_held = ordering().is_held(group, head)
  end
  members[#members + 1] = head or nil
  if #members == 0 and blocked == 0 then
    return {} -- a dead letter held it under an earlier policy
  end
  return {
    key, blocked, count_leased(group, members), head and id_of(head) or '',
    is_held and 1 or 0, answer_time(opens_at > now and opens_at or NEVER),
  }
end

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), {}, missing }
end
local report = bring_up_to_date({ group }, ARGV[9])
local keys, cursor = find(group, ARGV[7], ARGV[8])
local found = {}
for _, key in ipairs(keys) do
  for _, value in ipairs(info(group, key)) do
    found[#found + 1] = value
  end
end
return { whole(now), report, '', cursor, found }
