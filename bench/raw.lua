-- wrk script: sends raw requests. WRK_REQUESTS names a file of them, each behind a line with its length;
-- WRK_ORDER, when there, one with the numbers of those to send in turn, a line each, from 1.
local requests, order, at = {}, nil, 0

function init()
    local file = assert(io.open(os.getenv("WRK_REQUESTS"), "rb"))
    for length in file:lines() do
        requests[#requests + 1] = file:read(tonumber(length))
    end
    file:close()
    if os.getenv("WRK_ORDER") ~= "" then
        order = {}
        for number in io.lines(os.getenv("WRK_ORDER")) do
            order[#order + 1] = tonumber(number)
        end
    end
end

function request()
    if not order then
        at = at % #requests + 1
        return requests[at]
    end
    at = at % #order + 1
    return requests[order[at]]
end
