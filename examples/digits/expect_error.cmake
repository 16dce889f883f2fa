# Runs the program on a damaged data folder: it must fail, and say what is wrong.
execute_process(COMMAND "${program}" --data "${data}" RESULT_VARIABLE result ERROR_VARIABLE message OUTPUT_VARIABLE ignored)
message(STATUS "exit code ${result}: ${message}")
if(NOT result EQUAL 1)
  message(FATAL_ERROR "expected exit code 1")
endif()
if(NOT message MATCHES "${expected}")
  message(FATAL_ERROR "expected a message with \"${expected}\"")
endif()
