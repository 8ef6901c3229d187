// A guest in C++: strings, containers, streams and exceptions work as usual.
#include <mayfly/guest.h>

#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

static std::string most_frequent(const std::string &text)
{
    std::map<std::string, int> count;
    std::istringstream words(text);
    std::string word, best;
    while (words >> word)
        if (++count[word] > count[best])
            best = word;
    if (best.empty())
        throw std::invalid_argument("there is no word in the text");
    return best;
}

static mf_value frequent(const mf_value *arg)
{
    try {
        std::string word = most_frequent(std::string(arg[0].string.data, arg[0].string.len));
        std::cout << "looked through " << arg[0].string.len << " bytes\n";
        return mf_string_copy(word.data(), word.size());
    } catch (const std::exception &e) {
        return mf_errorf("%s", e.what());
    }
}
MF_EXPORT(frequent, "string frequent(string text)");
