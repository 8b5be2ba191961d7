-- Shared by the scripts that lease. Needs records.lua.

-- Inserts the READY events with priorities among those of `waiting`, given as arrays of members and scores, by rank.
-- Returns both arrays, at most `limit` long, and for those that it has inserted the name of their set, and their rank.
local function merge_ranked(group, waiting, dues, limit)
  local RANKED_AT_ONCE = 1000
  local key = group_key(group, 'ranked')

  -- Gives the events with priorities that have become due their ranks, at most RANKED_AT_ONCE.
  local function rank_due()
    local found = redis.call('ZRANGEBYSCORE', key, 0, whole(now), 'WITHSCORES', 'LIMIT', 0, RANKED_AT_ONCE)
    local scored = {}
    for i = 1, #found, 2 do
      scored[i], scored[i + 1] = whole(ranked_score(found[i], tonumber(found[i + 1]))), found[i]
    end
    write_all('ZADD', key, scored)
  end

  -- The READY events with priorities that come first: arrays of members, due times, and ranks.
  local function first_ranked()
    local found = redis.call('ZRANGEBYSCORE', key, '-inf', '(0', 'WITHSCORES', 'LIMIT', 0, limit)
    local members, ranks = {}, {}
    for i = 1, #found, 2 do
      members[#members + 1], ranks[#ranks + 1] = found[i], tonumber(found[i + 1]) + NEVER
    end
    return members, read_all('ZMSCORE', group_key(group, 'prioritized'), members), ranks
  end

  rank_due()
  local ranked, ranked_dues, ranked_at = first_ranked()
  local members, scores, sets, ranks = {}, {}, {}, {}
  local i, j = 1, 1

  local function is_ranked_next()
    local rank, due = ranked_at[j], tonumber(dues[i] or NEVER)
    if rank == due then
      return struct.unpack('>I4', ranked[j]) < struct.unpack('>I4', waiting[i])
    end
    return rank and rank < due
  end

  while #members < limit and (waiting[i] or ranked[j]) do
    local at = #members + 1
    if not is_ranked_next() then
      members[at], scores[at], i = waiting[i], dues[i], i + 1
    elseif ranked_dues[j] then
      members[at], scores[at], sets[at], ranks[at], j = ranked[j], ranked_dues[j], 'prioritized', ranked_at[j], j + 1
    else -- an earlier step has removed it from `prioritized`, and then lacked a right
      redis.call('ZREM', key, ranked[j])
      j = j + 1
    end
  end
  return members, scores, sets, ranks
end
