// C++: constructors before main, exceptions, containers, streams, calls.
#include <mayfly/guest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Registry {
    std::map<std::string, int> numbers;
    Registry()
    {
        numbers["one"] = 1;
        numbers["two"] = 2;
    }
};
Registry registry;
thread_local std::string last_word = "none";

struct Guard {
    int *count;
    ~Guard() { ++*count; }
};

int deep(int n, int *unwound)
{
    Guard guard{unwound};
    if (n == 0)
        throw std::out_of_range("bottom");
    return deep(n - 1, unwound) + 1;
}

mf_value lookup(const mf_value *arg)
{
    last_word.assign(arg[0].string.data, arg[0].string.len);
    try {
        return mf_i32(registry.numbers.at(last_word));
    } catch (const std::out_of_range &) {
        return mf_errorf("no number is called %s", last_word.c_str());
    }
}
MF_EXPORT(lookup, "i32 lookup(string word)");

mf_value unwind(const mf_value *arg)
{
    int unwound = 0;
    try {
        deep(arg[0].i32, &unwound);
    } catch (const std::exception &e) {
        std::ostringstream text;
        text << e.what() << " after " << unwound;
        std::string copy = text.str();
        return mf_string_copy(copy.data(), copy.size());
    }
    return mf_error("nothing was thrown");
}
MF_EXPORT(unwind, "string unwind(i32 depth)");

mf_value escape(const mf_value *)
{
    throw std::runtime_error("nobody catches this");
}
MF_EXPORT(escape, "void escape()");

mf_value sorted(const mf_value *arg)
{
    std::string text(arg[0].string.data, arg[0].string.len);
    std::sort(text.begin(), text.end());
    std::vector<std::unique_ptr<int>> pointers;
    for (int i = 0; i < 100; i++)
        pointers.emplace_back(new int(i));
    int sum = std::accumulate(pointers.begin(), pointers.end(), 0,
                              [](int a, const std::unique_ptr<int> &b) { return a + *b; });
    std::cout << "sum " << sum << std::endl;
    return mf_stringf("%s", text.c_str());
}
MF_EXPORT(sorted, "string sorted(string letters)");

} // namespace
