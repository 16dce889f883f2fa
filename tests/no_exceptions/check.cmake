# PROGRAM must do its right part, then say what was wrong and abort.

execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE error)
if(NOT output STREQUAL "32 values went forward and back\n")
  message(FATAL_ERROR "The right part printed \"${output}\" and \"${error}\"")
endif()
if(NOT status MATCHES "abort")
  message(FATAL_ERROR "Expected an abort, got ${status}")
endif()
if(NOT error MATCHES "^LayerNorm: [^\n]+\\[4, 8\\]")
  message(FATAL_ERROR "Expected the text of the misuse, got \"${error}\"")
endif()
