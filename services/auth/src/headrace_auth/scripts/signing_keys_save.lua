-- Saves the signing keys unless another replica has saved some since they were read.
-- KEYS 1 signing keys (hash)   ARGV 1 expected revision, "" for none  2 new revision  3 sealed keys
-- Answers 1, or 0 if the revision differs.
local revision = redis.call('HGET', KEYS[1], 'revision') or ''
if revision ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'sealed', ARGV[3])
return 1
