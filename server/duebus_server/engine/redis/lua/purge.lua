-- includes leases
-- DEAD -> removed for dead letters of a topic that died before a time, up to a limit for each group.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      retention, microseconds
--   7      dedupe window, microseconds
-- returns  when the first of those that are left died, or -1

local LIMIT = 1000
local before = whole(now - tonumber(ARGV[6]))
local oldest = NEVER
regardless_of_memory()
for _, group in ipairs(redis.call('SMEMBERS', topic_key('groups'))) do
  local dead_key = group_key(group, 'dead')
  local members = redis.call('ZRANGEBYSCORE', dead_key, '-inf', before, 'LIMIT', 0, LIMIT)
  local ids, gone = {}, {}
  for i = 1, #members do
    ids[i] = id_of(members[i])
    let_go(ids[i], true, gone)
  end
  local chosen = {}
  local blobs = read_all('HMGET', topic_key('events'), gone)
  for i = 1, #gone do
    if blobs[i] and #blobs[i] >= HEADER_SIZE and has_flag(blobs[i], CHOSEN_ID) then
      chosen[#chosen + 1] = gone[i]
    end
  end
  write_all('HDEL', group_key(group, 'records'), ids)
  write_all('HDEL', topic_key('events'), gone)
  write_all('ZREM', dead_key, members)
  remember_ids(chosen, tonumber(ARGV[7]))
  local first = redis.call('ZRANGE', dead_key, 0, 0, 'WITHSCORES')
  oldest = math.min(oldest, tonumber(first[2] or NEVER))
end
return answer_time(oldest)
