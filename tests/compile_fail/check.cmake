# Compiles CASE with COMPILER and the include folders INCLUDES. The case says in comments what it expects:
#   // expect: the sentence in the compiler's output
#   // flags: compiler flags that the control does not get (optional)

file(READ ${CASE} text)
if(NOT text MATCHES "// expect: ([^\n]+)")
  message(FATAL_ERROR "${CASE} has no line '// expect: '")
endif()
set(expect "${CMAKE_MATCH_1}")
set(flags "")
if(text MATCHES "// flags: ([^\n]+)")
  separate_arguments(flags UNIX_COMMAND "${CMAKE_MATCH_1}")
endif()

list(REMOVE_ITEM INCLUDES "")
list(TRANSFORM INCLUDES PREPEND -I)
set(compile ${COMPILER} -std=c++17 -fsyntax-only ${INCLUDES} ${CASE})

execute_process(COMMAND ${compile} -D CONTROL RESULT_VARIABLE status ERROR_VARIABLE output)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "The control does not compile:\n${output}")
endif()

execute_process(COMMAND ${compile} ${flags} RESULT_VARIABLE status ERROR_VARIABLE output)
if(status EQUAL 0)
  message(FATAL_ERROR "The misuse compiles.")
endif()

# The sentence must be there, and no error beside it.
set(said OFF)
string(REGEX REPLACE "[][;]" " " lines "${output}")  # what has a meaning in CMake's lists
string(REPLACE "\n" ";" lines "${lines}")
foreach(line IN LISTS lines)
  if(line MATCHES "error: ")
    string(FIND "${line}" "${expect}" place)
    if(place EQUAL -1)
      message(FATAL_ERROR "The compiler says more than \"${expect}\":\n${line}")
    endif()
    set(said ON)
  endif()
endforeach()
if(NOT said)
  message(FATAL_ERROR "The compiler does not say \"${expect}\" but:\n${output}")
endif()
