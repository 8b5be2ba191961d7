-- Shared by the scripts that page through a sorted set while it changes.

-- Whether one member comes before another of the same score: Redis compares bytes, while Lua's < follows the locale.
local function precedes(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then
      return a < b
    end
  end
  return #one < #other
end

-- How many members of a set come before (score, member), by bisection among those of the same score; O(log n) steps.
local function rank_of(key, score, member)
  local first, behind = redis.call('ZCOUNT', key, '-inf', '(' .. score), redis.call('ZCOUNT', key, '-inf', score)
  while first < behind do
    local middle = math.floor((first + behind) / 2)
    if precedes(redis.call('ZRANGE', key, middle, middle)[1], member) then
      first = middle + 1
    else
      behind = middle
    end
  end
  return first
end

-- The rank of the first member after (score, member), which may have gone meanwhile.
local function rank_behind(key, score, member)
  local rank = rank_of(key, score, member)
  return redis.call('ZRANGE', key, rank, rank)[1] == member and rank + 1 or rank
end
