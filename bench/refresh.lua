-- wrk script: every request refreshes the session that waited longest; REFRESH_TOKENS names a file, a token a line.
-- REFRESH_MEMBER is what the token is called in both bodies, refresh_token when it is not given.
local waiting, first, last = {}, 1, 0
local member = os.getenv("REFRESH_MEMBER") or "refresh_token"
local pattern = '"' .. member .. '":"([^"]+)"'

function init()
    for token in io.lines(os.getenv("REFRESH_TOKENS")) do
        last = last + 1
        waiting[last] = token
    end
end

function request()
    local token = waiting[first]
    waiting[first] = nil
    first = first + 1
    local headers = { ["Content-Type"] = "application/json", ["User-Agent"] = "bench/1.0" }
    return wrk.format("POST", nil, headers, '{"' .. member .. '":"' .. token .. '"}')
end

function response(status, _, body)
    local token = body:match(pattern)
    if token then
        last = last + 1
        waiting[last] = token
    end
end
